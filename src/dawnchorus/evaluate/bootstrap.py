"""How sure a metric is: intervals over recordings, which are what was sampled; windows of one are no new evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Metric = Callable[[npt.NDArray[np.bool_], npt.NDArray[np.float64]], float]

N_DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value, and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval(
    metric: Metric, truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], *, seed: int = 1
) -> Interval:
    """The metric of recordings [recordings, classes] with its percentile interval (Efron, 1979)."""
    return Interval(metric(truth, scores), *_limits(metric(truth[d], scores[d]) for d in _draws(len(truth), seed)))


def paired_interval(
    metric: Metric,
    truth: npt.NDArray[np.bool_],
    first: npt.NDArray[np.float64],
    second: npt.NDArray[np.float64],
    *,
    seed: int = 1,
) -> Interval:
    """How much larger the metric of `first` is than that of `second` on the same recordings."""
    value = metric(truth, first) - metric(truth, second)
    draws = _draws(len(truth), seed)
    return Interval(value, *_limits(metric(truth[d], first[d]) - metric(truth[d], second[d]) for d in draws))


def _draws(n: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, n, (N_DRAWS, n))


def _limits(values: object) -> tuple[float, float]:
    found = np.fromiter(values, float)  # type: ignore[call-overload]
    found = found[~np.isnan(found)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
