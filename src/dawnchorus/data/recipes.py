"""Named recipes for the preparation of clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from dawnchorus.audio.noise import NoiseKind
from dawnchorus.errors import InputError
from dawnchorus.inference.preparation import Cleaning

Take = Literal["all", "first", "random", "loudest", "scored"]
Fill = Literal["zeros", "noise", "repeat"]

MAX_CHOICE_S = 600.0
"""Clips are chosen (by anything but "all") from so much of a recording's start."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Rules by which recordings become clips of one length.

    Raises:
        InputError: a value is out of range.
    """

    rate_hz: int = 32_000
    window_s: float = 5.0
    overlap_s: float = 0.0
    take: Take = "all"
    """Windows to take: all of them, the first, some at random, those with the most sound, or those in which a model
    hears the recording's species best (and with the most sound, where it does not hear it)."""
    n_clips: int = 1
    """Number of "random", "loudest" or "scored" windows of each recording."""
    fill: Fill = "zeros"
    """Filling of a clip that is longer than its recording."""
    trim_db: float | None = None
    denoise: NoiseKind | None = None
    cut_speech: bool = False
    normalise: bool = False
    """True if each clip is scaled so that its largest sample is 0.9 of full scale."""

    def __post_init__(self) -> None:
        for name, low, high in (("rate_hz", 4_000, 192_000), ("window_s", 0.1, 120), ("n_clips", 1, 10_000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name}: expected {low} to {high}, got {value}.")
        if not 0 <= self.overlap_s < self.window_s:
            raise InputError(f"overlap: expected 0 or more and less than {self.window_s:g} s, got {self.overlap_s:g}.")

    @property
    def cleaning(self) -> Cleaning:
        """Steps before the recording is cut into windows."""
        return Cleaning(trim_db=self.trim_db, denoise=self.denoise, cut_speech=self.cut_speech)

    @property
    def n_window(self) -> int:
        """Samples in a clip."""
        return round(self.window_s * self.rate_hz)

    @property
    def n_hop(self) -> int:
        """Samples from one window's start to the next one's."""
        return self.n_window - round(self.overlap_s * self.rate_hz)

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


FOLDER = Path(__file__).parents[1] / "conf" / "experiment"
"""Recipes for training: each file says how its clips are made as well."""

_CLIPS: dict[str, tuple[str, Recipe]] = {
    "birdclef-5s": ("5 s windows at 32 kHz, as BirdCLEF, BirdSet and Perch", Recipe()),
    "birdnet-3s": ("3 s windows at 48 kHz, as BirdNET", Recipe(rate_hz=48_000, window_s=3.0)),
    "scored-5s": ("the 5 s of each recording in which BirdNET hears its species best", Recipe(take="scored")),
    "loudest-5s": ("the 5 s of each recording with the most sound, at 32 kHz", Recipe(take="loudest")),
}


@cache
def known_recipes() -> dict[str, tuple[str, Recipe]]:
    """Return description and recipe by name: of clips alone, and of the training recipes that fix rate and window."""
    found = dict(_CLIPS)
    for path in sorted(FOLDER.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        recipe = _recipe_in(yaml.safe_load(text))
        if recipe is not None:
            found[path.stem] = (_description_in(text), recipe)
    return found


def _recipe_in(training: dict[str, Any]) -> Recipe | None:
    model = training.get("model", {})
    if not {"rate_hz", "window_s"} <= set(model):
        return None
    names = {field.name for field in fields(Recipe)}
    chosen = {name: value for name, value in training.get("data", {}).items() if name in names}
    return Recipe(rate_hz=model["rate_hz"], window_s=model["window_s"], **chosen)


def _description_in(text: str) -> str:
    """Return the first line of the comment at the top of a training recipe."""
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    return comments[1].rstrip(".")
