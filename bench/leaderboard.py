"""Every recipe trained and measured on the focal recordings, by its command."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench.focal import data_sets
from bench.results import RESULTS, SHARED_AUDIO

RECIPES: dict[str, tuple[str, ...]] = {
    "best": (),
    "best-free": ("data.auxiliary={others}", "data.validation=0", "--seeds", "3", "--overlap", "2.5"),
    "yamnet-head": (),
    "acoustic-95": (),
    "kapre-study": (),
    "birdclef-efficientnet": ("trainer.epochs=15",),
    "wav2vec2-5s": ("model.layers=2", "model.units=128", "model.heads=4", "model.channels=64", "trainer.epochs=8"),
}
"""What is trained, and how else than by default; Wav2Vec2 begins at random here, where no hub
can be reached, and is small, so that it ends today."""

KEPT = RESULTS / "leaderboard"
"""Data sets, runs and the entry of each recipe: an entry that is there is not made again."""


def measure() -> dict[str, Any] | None:
    """The entries of the leaderboard, the best first."""
    if not SHARED_AUDIO.is_dir():
        print(f"  no recordings at {SHARED_AUDIO}: left out")
        return None
    sets = data_sets(KEPT / "sets")
    entries = []
    for recipe, options in RECIPES.items():
        out = KEPT / f"{recipe}.json"
        if not out.exists():
            print(f"  {recipe}...", flush=True)
            own = [option.format(others=sets["others"].folder) for option in options]
            settings = [f"paths.runs={KEPT / 'runs'}", *own]
            command = [sys.executable, "-m", "dawnchorus", "leaderboard", str(sets["focal"].folder), *settings]
            command += ["--recipe", recipe, "--open-set", str(sets["open"].folder), "--random-split", "--out", str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if not out.exists():
                print(f"  {recipe} failed: {done.stderr.strip().splitlines()[-1:]}")
                continue
        entries += json.loads(out.read_text(encoding="utf-8"))
    entries.sort(key=lambda entry: -entry["by_recording"]["top_1"]["value"])
    return {"entries": entries}
