"""Cost of averaging two channels: `(left + right) * 0.5` against NumPy's mean over the second axis."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile

from dawnchorus.arrays import FloatArray
from dawnchorus.audio import decode
from dawnchorus.audio.backends import BLOCK_FRAMES
from dawnchorus.audio.channels import mix_to_mono

N_ROUNDS, RATE_HZ, LENGTH_S = 5, 48_000, 600
N_BLOCKS = 200


def measure() -> dict[str, Any]:
    """Return ratios of the two ways to mix blocks, and to decode a stereo WAV with them, in turn."""
    rng = np.random.default_rng(1)
    block = rng.normal(0, 0.1, (BLOCK_FRAMES, 2)).astype(np.float32)
    mixing, decoding = [], []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "stereo.wav")
        soundfile.write(path, rng.normal(0, 0.1, (LENGTH_S * RATE_HZ, 2)), RATE_HZ, subtype="PCM_16")
        for _ in range(N_ROUNDS):
            mixing.append(_seconds(_mix, _mean, block) / _seconds(_mix, mix_to_mono, block))
            decoding.append(_seconds(_decode, _mean, path) / _seconds(_decode, mix_to_mono, path))
    return {"mixing": statistics.median(mixing), "decoding": statistics.median(decoding), "n_rounds": N_ROUNDS}


def _mean(samples: FloatArray) -> FloatArray:
    mono: FloatArray = samples.mean(axis=1, dtype=np.float32)
    return mono


def _mix(mix: Callable[[FloatArray], FloatArray], block: FloatArray) -> None:
    for _ in range(N_BLOCKS):
        mix(block)


def _decode(mix: Callable[[FloatArray], FloatArray], path: Path) -> None:
    with mock.patch.object(decode, "mix_to_mono", mix), decode.open_recording(path) as recording:
        for _block in recording.blocks():
            continue


def _seconds(work: Callable[[Any, Any], None], mix: Any, given: Any) -> float:
    begin = time.perf_counter()
    work(mix, given)
    return time.perf_counter() - begin
