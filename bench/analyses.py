"""Cost of recorder health and acoustic indices in the same pass: processor time of all processes, in turn."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.recordings import make_recordings
from dawnchorus.models.store import ModelStore, default_folder

N_ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
N_FILES = int(os.environ.get("BENCH_FILES", "24"))
"""Recordings of six minutes; few for a first look."""


def measure() -> dict[str, Any]:
    """Compare processor times with and without the analyses, in each of some rounds."""
    ModelStore(default_folder()).open("birdnet")
    ratios, hours = [], 0.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        hours = make_recordings(folder / "recordings", n_files=N_FILES) / 3600
        _processor_s(folder)
        for _ in range(N_ROUNDS):
            without_s = _processor_s(folder)
            ratios.append(_processor_s(folder, "--analyses", "health,indices") / without_s)
    return {
        "cost": statistics.median(ratios) - 1,
        "cost_each": [ratio - 1 for ratio in ratios],
        "hours": hours,
        "load": os.getloadavg()[2],
    }


def _processor_s(folder: Path, *options: str) -> float:
    """Return the processor seconds of one `identify` and of its decoders."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out: list[str | Path] = ["--out", folder / "out.csv", "--overwrite", "-q"]
    command: list[str | Path] = [sys.executable, "-m", "dawnchorus", "identify", folder / "recordings", *out, *options]
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
