"""How sure a metric is: intervals over recordings, which are what was sampled; windows of one are no new evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.evaluate.metrics import BoolArray, FloatArray

Metric = Callable[[BoolArray, FloatArray], FloatArray]
"""A value for each [..., recordings, classes]; see `metrics`."""

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
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval(metric: Metric, truth: BoolArray, scores: FloatArray, *, seed: int = 1) -> Interval:
    """The metric of recordings [recordings, classes] with its percentile interval (Efron, 1979)."""
    return Interval(float(metric(truth, scores)), *_limits([metric(truth[d], scores[d]) for d in _draws(truth, seed)]))


def paired_interval(
    metric: Metric, truth: BoolArray, first: FloatArray, second: FloatArray, *, seed: int = 1
) -> Interval:
    """How much larger the metric of `first` is than that of `second` on the same recordings."""
    value = float(metric(truth, first)) - float(metric(truth, second))
    draws = _draws(truth, seed)
    return Interval(value, *_limits([metric(truth[d], first[d]) - metric(truth[d], second[d]) for d in draws]))


def _draws(truth: BoolArray, seed: int) -> list[npt.NDArray[np.int64]]:
    """Draw recordings with replacement, in blocks [draws, recordings] of which the values stay in the cache."""
    n = len(truth)
    draws = np.random.default_rng(seed).integers(0, n, (N_DRAWS, n))
    n_blocks = min(N_DRAWS, -(-N_DRAWS * truth.size // BLOCK_SIZE))
    return np.array_split(draws, max(1, n_blocks))


def _limits(blocks: list[FloatArray]) -> tuple[float, float]:
    found = np.concatenate(blocks)
    found = found[~np.isnan(found)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
