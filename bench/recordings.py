"""The sound that speed is measured on: synthetic dawn choruses, so that anyone can repeat it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawnchorus.audio.write import write_recording
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus

N_FILES, CHORUSES_PER_FILE = 24, 4


def make_recordings(folder: Path, *, n_files: int = N_FILES) -> float:
    """Write WAV files of six minutes (48 kHz, 16 bit, mono) to `folder`, and return their total seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    total_s = 0.0
    for k in range(n_files):
        scenes = [dawn_chorus(seed=k * CHORUSES_PER_FILE + part) for part in range(CHORUSES_PER_FILE)]
        samples = np.concatenate([scene.samples for scene in scenes])
        write_recording(folder / f"dawn{k}.wav", samples, rate_hz=scenes[0].rate_hz)
        total_s += len(samples) / scenes[0].rate_hz
    return total_s
