"""Speed of preparing clips by format and recipe, and memory, which does not grow with their number."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from dawnchorus.arrays import FloatArray
from dawnchorus.cores import usable_cores
from dawnchorus.data.prepare import prepare
from dawnchorus.data.recipes import Recipe
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus
from dawnchorus.inference.preparation import open_cleaner
from dawnchorus.models.store import default_folder
from dawnchorus.training.clip_recipes import known_recipes

N_RECORDINGS = 24
TASKS: dict[str, tuple[str, Recipe]] = {
    "wav": ("wav", Recipe()),
    "flac": ("flac", Recipe()),
    "mp3": ("mp3", Recipe()),
    "wav, speech cut": ("wav", Recipe(rate_hz=16_000, cut_speech=True)),
    "wav, noise reduced": ("wav", known_recipes()["birdclef-yamnet"][1]),
}

RUN = """
import json, sys
from pathlib import Path
from dawnchorus.data.prepare import prepare
from dawnchorus.data.recipes import Recipe
from dawnchorus.data.recordings import read_table
done = prepare(read_table(Path(sys.argv[1])), Path(sys.argv[2]), Recipe(), seed=1, n_workers=2)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"n_clips": done.n_clips, "peak_mb": int(status["VmHWM"].split()[0]) / 1024}))
"""


def _data_set(folder: Path, suffix: str, n: int, waveforms: list[FloatArray]) -> tuple[RecordingsTable, float]:
    """Write `n` recordings (48 kHz), which repeat `waveforms`, and return their table and total seconds."""
    folder.mkdir()
    for k, samples in enumerate(waveforms):
        soundfile.write(folder / f"{k}.{suffix}", samples, 48_000)
    rows = [
        RecordingRow(recording_id=str(k), path=f"{k % len(waveforms)}.{suffix}", scientific_name="A a")
        for k in range(n)
    ]
    table = RecordingsTable(folder, tuple(rows))
    write_table(table)
    return table, sum(len(waveforms[k % len(waveforms)]) for k in range(n)) / 48_000


def measure() -> dict[str, Any]:
    """Return x real time on all cores for each task, and peak memory for a data set and one ten times as large."""
    speeds = {}
    waveforms = [
        np.concatenate([dawn_chorus(seed=2 * k + part).samples for part in range(2)]) for k in range(N_RECORDINGS)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        for name, (suffix, recipe) in TASKS.items():
            folder = scratch / name.replace(", ", "-").replace(" ", "-")
            table, total_s = _data_set(folder, suffix, N_RECORDINGS, waveforms)
            prepare(
                table.with_rows(table.rows[:2]),
                folder / "warm",
                recipe,
                seed=1,
                n_workers=2,
                cleaner=open_cleaner(recipe.cleaning, default_folder()),
            )
            begin = time.perf_counter()
            n_workers = usable_cores()
            prepare(
                table,
                folder / "out",
                recipe,
                seed=1,
                n_workers=n_workers,
                cleaner=open_cleaner(recipe.cleaning, default_folder()),
            )
            speeds[name] = total_s / (time.perf_counter() - begin)
            print(f"  {name}: {speeds[name]:.0f} x real time", flush=True)
        peaks = {}
        for n in (N_RECORDINGS, 10 * N_RECORDINGS) if sys.platform == "linux" else ():
            folder = scratch / f"memory-{n}"
            _data_set(folder, "mp3", n, waveforms)
            done = subprocess.run(
                [sys.executable, "-c", RUN, str(folder), str(folder / "out")],
                capture_output=True,
                text=True,
                check=True,
            )
            peaks[str(n)] = json.loads(done.stdout)
    return {"x": speeds, "n_cores": usable_cores(), "hours": N_RECORDINGS * 180 / 3600, "memory": peaks}
