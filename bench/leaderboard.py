"""Every recipe trained and measured on the focal recordings, by its command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.focal import data_sets
from bench.results import RESULTS, SHARED_AUDIO
from dawnchorus.cores import usable_cores
from dawnchorus.models.store import ModelStore

SEEDS = ("--seeds", "3")

RECIPES: dict[str, tuple[str, ...]] = {
    "birdclef-2024": ("trainer.epochs=10", *SEEDS),
    "birdsong-kapre": SEEDS,
    "autobird": ("model.layers=2", "model.units=128", "model.heads=4", "model.channels=64", *SEEDS),
    "birdclef-yamnet": ("model.backbone={yamnet}", "data.validation=0", "--random-split", *SEEDS),
    "acoustic-95": ("data.validation=0", "--random-split", *SEEDS),
    "birdnet-head": ("--random-split",),
    "efficientnet-pcen": ("data.auxiliary={others}", "data.validation=0", "--overlap", "2.5", *SEEDS),
}
"""Recipes, each with its settings other than the defaults.

Wav2Vec2 begins at random here, where no hub can be reached, and is small, so that it ends today; `efficientnet-pcen`
is of the same family as `birdclef-2024`.
"""

SCENES = ("birdnet-head", "efficientnet-pcen")
"""Recipes whose bundles are evaluated on the composite soundscapes as well."""

YAMNET = SHARED_AUDIO.parent / "models" / "yamnet" / "yamnet_waveform.onnx"

KEPT = RESULTS / "leaderboard"
"""Data sets, runs and the entry of each recipe: an entry that is there is not made again."""


def measure(recipes: Sequence[str] = tuple(RECIPES)) -> dict[str, Any] | None:
    """Return the entries of the leaderboard, the best first; each was trained and timed on one core."""
    if not SHARED_AUDIO.is_dir():
        print(f"  no recordings at {SHARED_AUDIO}: left out")
        return None
    folders = {name: table.folder for name, table in data_sets(KEPT / "sets").items()}
    folders["yamnet"] = ModelStore(KEPT / "models").pull("yamnet", source=YAMNET).folder

    def make(recipe: str) -> None:
        out = KEPT / f"{recipe}.json"
        if out.exists():
            return
        options = [option.format(**folders) for option in RECIPES[recipe]]
        options += [f"paths.runs={KEPT / 'runs'}", "trainer.threads=1", "--open-set", str(folders["open"])]
        command = ["leaderboard", str(folders["focal"]), *options, "--recipe", recipe, "--out", str(out)]
        print(f"  {recipe}...", flush=True)
        done = _dawnchorus(*command)
        if not out.exists():
            print(f"  {recipe} failed: {done.stderr.strip().splitlines()[-1:]}")

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(make, recipes))
    paths = [KEPT / f"{recipe}.json" for recipe in RECIPES]
    entries = [entry for path in paths if path.exists() for entry in json.loads(path.read_text(encoding="utf-8"))]
    entries.sort(key=lambda entry: -entry["by_recording"]["top_1"]["value"])
    bundles = {entry["recipe"]: entry["bundle"] for entry in entries if entry["recipe"] in SCENES}
    return {"entries": entries, "scenes": {recipe: _events(bundle) for recipe, bundle in bundles.items()}}


def _events(bundle: str) -> dict[str, Any]:
    """Return precision and recall of events in the composite soundscapes, by threshold."""
    scenes = KEPT / "sets" / "scenes"
    if not scenes.exists():
        _dawnchorus("data", "import", str(SHARED_AUDIO / "soundscapes" / "composite"), str(scenes))
    done = _dawnchorus("evaluate", bundle, str(scenes), "--split", "all", "--json")
    events: dict[str, Any] = json.loads(done.stdout)["evaluations"][0]["events"]
    return events


def _dawnchorus(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dawnchorus", *arguments], capture_output=True, text=True, check=False)
