"""Mean and level of signals that come block by block."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Moments:
    """Mean and variance of samples; exact also where the mean is much larger than the sound."""

    def __init__(self) -> None:
        self.n = 0
        self._offset = np.float32(0)
        self._sum = self._squares = 0.0

    def add(self, samples: FloatArray) -> None:
        """Add samples [n]."""
        if not self.n and len(samples):
            self._offset = samples.mean()
        rest = samples - self._offset
        self.n += len(rest)
        self._sum += float(rest.sum())
        self._squares += float(np.vdot(rest, rest))

    @property
    def mean(self) -> float:
        """Mean of the samples; 0 of none."""
        return float(self._offset) + self._sum / max(self.n, 1)

    @property
    def variance(self) -> float:
        """Mean square of the samples less their mean."""
        n = max(self.n, 1)
        return max(self._squares / n - (self._sum / n) ** 2, 0.0)


def decibels(power: float) -> float:
    """Return the level of a mean square in dB of full scale (a sine of full scale has -3 dB); -inf of none."""
    return 10 * math.log10(power) if power > 0 else -math.inf
