"""Analyses of samples for tests, in a module that a decoder can import quickly."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.sample_analyses import Table, build_table

FloatArray = npt.NDArray[np.float32]


class Peaks:
    """The largest sample of each channel, and what else a decoder has imported."""

    def __init__(self) -> None:
        self.peaks = np.zeros(0, np.float32)
        self.sample_rate_hz = 0

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        peaks = np.abs(block).max(axis=0)
        self.peaks = np.maximum(self.peaks, peaks) if len(self.peaks) else peaks
        self.sample_rate_hz = sample_rate_hz

    def finish(self) -> Table:
        heavy = ",".join(name for name in ("dawnchorus.inference", "onnxruntime", "pyarrow") if name in sys.modules)
        n = len(self.peaks)
        return build_table(
            {"channel": range(1, n + 1), "peak": self.peaks, "rate_hz": [self.sample_rate_hz] * n, "heavy": [heavy] * n}
        )


class Failing:
    """An analysis that fails on the first block, or at the end."""

    def __init__(self, *, at_end: bool) -> None:
        self.at_end = at_end

    def on_samples(self, _block: FloatArray, _sample_rate_hz: int) -> None:
        if not self.at_end:
            raise ZeroDivisionError("division by zero")

    def finish(self) -> Table:
        raise KeyError("level")
