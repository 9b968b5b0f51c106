"""Small sounds that tests make on the spot."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def tone(
    frequency_hz: float = 1000.0, *, seconds: float = 2.0, rate_hz: int = 16_000, level: float = 0.5
) -> FloatArray:
    """Return a sine [n]."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


def own_tone(path: Path, *, seconds: float) -> FloatArray:
    """Return a sine [n] that no file of another path has."""
    return tone(300 + zlib.crc32(str(path).encode()) % 700_000 / 100, seconds=seconds)
