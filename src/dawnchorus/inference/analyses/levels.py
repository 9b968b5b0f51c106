"""Running mean and variance of signals, and decibels."""

from __future__ import annotations

import math

import numpy as np

from dawnchorus.arrays import FloatArray


class Moments:
    """Running mean and variance of samples.

    Attributes:
        n: number of samples so far.
    """

    def __init__(self) -> None:
        self.n = 0
        self._sum = self._squares = 0.0

    def add(self, frames: FloatArray) -> FloatArray:
        """Add float32 samples [frames, samples], and return the sum of each frame [frames].

        Float32 sums of short frames stay accurate even if the signal has a large constant offset.
        """
        sums: FloatArray = frames @ np.ones(frames.shape[1], np.float32)
        squares = np.matmul(frames[:, np.newaxis], frames[:, :, np.newaxis])  # a dot product of each frame with itself
        self.n += frames.size
        self._sum += float(sums.sum(dtype=np.float64))
        self._squares += float(squares.sum(dtype=np.float64))
        return sums

    @property
    def mean(self) -> float:
        """Mean of the samples; 0 without samples."""
        return self._sum / max(self.n, 1)

    @property
    def variance(self) -> float:
        """Variance of the samples; 0 without samples."""
        return max(self._squares / max(self.n, 1) - self.mean**2, 0.0)


def reduce_frames(function: np.ufunc, frames: FloatArray) -> FloatArray:
    """Return `function.reduce(frames, axis=1)` for frames [frames, samples], in half the time.

    `function` is `np.maximum` or `np.minimum`.
    """
    reduced: FloatArray = function.reduceat(frames.reshape(-1), np.arange(0, frames.size, frames.shape[1]))
    return reduced


def decibels(power: float) -> float:
    """Convert a mean square of samples (-1 to 1) to dB of full scale (a full-scale sine has -3 dB); -inf for 0."""
    return 10 * math.log10(power) if power > 0 else -math.inf
