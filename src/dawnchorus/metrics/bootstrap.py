"""Confidence intervals of metrics, over recordings: windows of one recording are not independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.metrics.classification import BoolArray, FloatArray, mean_of_known

Metric = Callable[[BoolArray, FloatArray], FloatArray]
"""A value for each [..., recordings, classes]; see `metrics`."""


@dataclass(frozen=True)
class RowMean:
    """A metric that is the mean of what each row has by itself, so that resamples need no new computation."""

    of_rows: Metric
    """A value for each row [..., rows]; NaN: it has none."""

    def __call__(self, truth: BoolArray, scores: FloatArray) -> FloatArray:
        """Return the mean of the rows that have a value [...]."""
        return mean_of_known(self.of_rows(truth, scores))


N_DRAWS = 1000
BLOCK_SIZE = 20_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value, and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not defined"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval(metric: Metric, truth: BoolArray, scores: FloatArray, *, seed: int = 1) -> Interval:
    """Compute the metric of recordings [recordings, classes] with its percentile interval (Efron, 1979)."""
    return Interval(float(metric(truth, scores)), *_limits(_resample(metric, truth, scores, _draws(truth, seed))))


def paired_interval(
    metric: Metric, truth: BoolArray, first: FloatArray, second: FloatArray, *, seed: int = 1
) -> Interval:
    """Compute the difference of the metrics of `first` and `second` on the same recordings, with its interval."""
    value = float(metric(truth, first)) - float(metric(truth, second))
    draws = _draws(truth, seed)
    values, others = (_resample(metric, truth, scores, draws) for scores in (first, second))
    return Interval(value, *_limits([a - b for a, b in zip(values, others, strict=True)]))


def resampled_sums(values: FloatArray, *, seed: int = 1) -> FloatArray:
    """Return the sums over recordings of values [recordings, columns], for recordings drawn anew [draws, columns]."""
    return np.concatenate([values[draws].sum(1) for draws in _draws(values.astype(bool), seed)])


def _resample(
    metric: Metric, truth: BoolArray, scores: FloatArray, draws: list[npt.NDArray[np.int64]]
) -> list[FloatArray]:
    """Return the metric of each draw, in blocks [draws]."""
    if isinstance(metric, RowMean):
        rows = metric.of_rows(truth, scores)
        return [mean_of_known(rows[d]) for d in draws]
    return [metric(truth[d], scores[d]) for d in draws]


def _draws(truth: BoolArray, seed: int) -> list[npt.NDArray[np.int64]]:
    """Draw recordings with replacement, in blocks [draws, recordings] of which the values stay in the cache."""
    n = len(truth)
    draws = np.random.default_rng(seed).integers(0, n, (N_DRAWS, n))
    n_blocks = min(N_DRAWS, -(-N_DRAWS * truth.size // BLOCK_SIZE))
    return np.array_split(draws, max(1, n_blocks))


def _limits(blocks: list[FloatArray]) -> tuple[float, float]:
    differences = np.concatenate(blocks)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return float("nan"), float("nan")
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
