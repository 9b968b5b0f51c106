"""Named recipes (settings for cutting recordings into clips) for `dawnchorus prepare`."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dawnchorus.data.recipes import Recipe

_EXPERIMENTS = Path(__file__).parent / "conf" / "experiment"
"""Folder of the experiments (training settings), each of which also defines its clips."""

_CLIPS: dict[str, tuple[str, Recipe]] = {
    "birdclef-5s": ("5 s windows at 32 kHz, as BirdCLEF, BirdSet and Perch", Recipe()),
    "birdnet-3s": ("3 s windows at 48 kHz, as BirdNET", Recipe(rate_hz=48_000, window_s=3.0)),
    "scored-5s": (
        "the 5 s of each recording with BirdNET's highest score for its species",
        Recipe(clip_selection="scored"),
    ),
    "loudest-5s": ("the 5 s of each recording with the most sound, at 32 kHz", Recipe(clip_selection="loudest")),
}


@cache
def known_recipes() -> dict[str, tuple[str, Recipe]]:
    """Return (description, recipe) by the recipe's name, including the clips of the built-in experiments.

    The name of an experiment is also that of its recipe. Experiments that do not set `model.rate_hz` and
    `model.window_s` are left out.
    """
    recipes = dict(_CLIPS)
    for path in sorted(_EXPERIMENTS.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        recipe = _recipe_in(yaml.safe_load(text))
        if recipe is not None:
            recipes[path.stem] = (_description_in(text), recipe)
    return recipes


def _recipe_in(training: dict[str, Any]) -> Recipe | None:
    model = training.get("model", {})
    if not {"rate_hz", "window_s"} <= set(model):
        return None
    names = {field.name for field in fields(Recipe)}
    chosen = {name: value for name, value in training.get("data", {}).items() if name in names}
    return Recipe(rate_hz=model["rate_hz"], window_s=model["window_s"], **chosen)


def _description_in(text: str) -> str:
    """Return the description in an experiment's file: the second line of the comment at its top."""
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    return comments[1].rstrip(".")
