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
    "best-free": ("--auxiliary",),
    "yamnet-head": (),
    "acoustic-95": (),
    "kapre-study": (),
    "birdclef-efficientnet": (),
}
"""What is trained; Wav2Vec2 is left out, because it has no pretrained weights here."""

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
            settings = [f"paths.runs={KEPT / 'runs'}", "data.validation=0.15"]
            if "--auxiliary" in options:
                settings.append(f"data.auxiliary={sets['others'].folder}")
            command = [sys.executable, "-m", "dawnchorus", "leaderboard", str(sets["focal"].folder), *settings]
            command += ["--recipe", recipe, "--open-set", str(sets["open"].folder), "--random-split", "--out", str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if not out.exists():
                print(f"  {recipe} failed: {done.stderr.strip().splitlines()[-1:]}")
                continue
        entries += json.loads(out.read_text(encoding="utf-8"))
    entries.sort(key=lambda entry: -entry["by_recording"]["top_1"]["value"])
    return {"entries": entries}
