"""Bootstrap confidence intervals over recordings, since windows of a recording are not independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.metrics.classification import BoolArray, FloatArray, average_known
from dawnchorus.tables.notes import counted

Metric = Callable[[BoolArray, FloatArray], FloatArray]
"""Metric of truth and scores [..., recordings, classes], with one value for each of the leading dimensions [...]."""


@dataclass(frozen=True)
class RowMean:
    """A metric that is the mean of one value per row (recording).

    `interval` computes the values of the rows once, and only averages them anew for each bootstrap sample.
    """

    of_rows: Metric
    """Function of truth and scores [..., rows, classes] that returns values [..., rows]; NaN leaves a row out."""

    def __call__(self, truth: BoolArray, scores: FloatArray) -> FloatArray:
        """Return the mean of the rows' values that are not NaN [...]."""
        return average_known(self.of_rows(truth, scores))


class RowShare(RowMean):
    """A metric that is a proportion: the share of rows with value 1, where `of_rows` returns 0, 1 or NaN.

    If the share is 0 or 1, `interval` uses the exact binomial interval.
    """


N_DRAWS = 1000
"""Number of bootstrap samples."""
BLOCK_SIZE = 20_000
"""Maximum number of values of bootstrap samples that are computed at once; blocks of this size stay in the cache."""
LEVEL = 0.95
"""Confidence level of intervals."""

NO_WIDTH = 1e-9
"""Width below which an interval counts as having no width, because of rounding."""


@dataclass(frozen=True)
class Interval:
    """A value with the limits of its 95 % confidence interval; a value or limit that is not defined is NaN."""

    value: float
    """Value on all recordings: of a metric, of the difference of a metric between two models, or of a ratio."""
    low: float
    """Lower limit of the interval."""
    high: float
    """Upper limit of the interval."""

    @property
    def has_no_width(self) -> bool:
        """True if the limits are equal (up to `NO_WIDTH`), as when all bootstrap samples give the same value.

        Such an interval is not informative. False if the limits are NaN.
        """
        return self.high - self.low < NO_WIDTH

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not defined"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval(metric: Metric, truth: BoolArray, scores: FloatArray, *, seed: int = 1) -> Interval:
    """Compute a metric with its percentile bootstrap interval over recordings (Efron, 1979).

    A `RowShare` whose value is 0 or 1 has the exact binomial interval instead, since all bootstrap samples would be
    equal. Bootstrap samples in which the metric is NaN are left out; the limits are NaN if it is NaN in all of them.

    Args:
        metric: function of truth and scores [..., recordings, classes] that returns one value for each leading
            dimension [...].
        truth: True if the class is present in the recording [recordings, classes].
        scores: scores of the recordings [recordings, classes].
        seed: seed of the bootstrap samples.
    """
    result = Interval(float(metric(truth, scores)), *_limits(_resample(metric, truth, scores, _draws(truth, seed))))
    if isinstance(metric, RowShare) and result.value in (0, 1):
        return _exact_interval(result.value, n=int((~np.isnan(metric.of_rows(truth, scores))).sum()))
    return result


def describe_no_width(intervals: Mapping[str, Interval], n_recordings: int) -> str | None:
    """Return a sentence that names the metrics whose intervals have no width; None if there are none.

    Args:
        intervals: interval of each metric, by name, such as "top_1_accuracy".
        n_recordings: number of recordings that were resampled.
    """
    names = [name.replace("_", " ") for name, each in intervals.items() if each.has_no_width]
    if not names:
        return None
    subject = f"intervals of {', '.join(names)} say" if len(names) > 1 else f"interval of {names[0]} says"
    return f"note: the {subject} nothing, because every draw of {counted(n_recordings, 'recording')} gives the same."


def paired_interval(
    metric: Metric, truth: BoolArray, first: FloatArray, second: FloatArray, *, seed: int = 1
) -> Interval:
    """Compute the difference of a metric between two models on the same recordings, with its bootstrap interval.

    Bootstrap samples in which the metric of a model is NaN are left out of the interval.

    Args:
        metric: function of truth and scores [..., recordings, classes] that returns one value for each leading
            dimension [...].
        truth: True if the class is present in the recording [recordings, classes].
        first: scores of the first model [recordings, classes].
        second: scores of the second model [recordings, classes], whose metric is subtracted.
        seed: seed of the bootstrap samples, which are the same for both models.
    """
    value = float(metric(truth, first)) - float(metric(truth, second))
    draws = _draws(truth, seed)
    values, others = (_resample(metric, truth, scores, draws) for scores in (first, second))
    return Interval(value, *_limits([a - b for a, b in zip(values, others, strict=True)]))


def resampled_sums(values: FloatArray, *, seed: int = 1) -> FloatArray:
    """Return the sum of each column in each bootstrap sample of the rows.

    Args:
        values: values to sum [recordings, columns].
        seed: seed of the bootstrap samples.

    Returns:
        Sums [`N_DRAWS`, columns].
    """
    return np.concatenate([values[draws].sum(1) for draws in _draws(values.astype(bool), seed)])


def ratio_interval(numerator: FloatArray, denominator: FloatArray, *, seed: int = 1) -> Interval:
    """Compute the ratio of two sums over recordings, with its bootstrap interval.

    Args:
        numerator: value of each recording [recordings].
        denominator: value of each recording [recordings], not below 0; the ratio is NaN if their sum is 0, and
            bootstrap samples in which their sum is 0 are left out of the interval.
        seed: seed of the bootstrap samples.
    """
    values = np.stack([numerator, denominator], axis=1).astype(np.float64)
    total, whole = values.sum(0)
    rng, n = np.random.default_rng(seed), len(values)
    # One after the other: there may be a million recordings.
    sums = np.array([values[rng.integers(0, n, n)].sum(0) for _ in range(N_DRAWS)])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
    return Interval(float(total / whole) if whole else float("nan"), *_limits([ratios]))


def _resample(
    metric: Metric, truth: BoolArray, scores: FloatArray, draws: list[npt.NDArray[np.int64]]
) -> list[FloatArray]:
    """Return the metric of each bootstrap sample, in blocks [draws]."""
    if isinstance(metric, RowMean):
        rows = metric.of_rows(truth, scores)
        return [average_known(rows[d]) for d in draws]
    return [metric(truth[d], scores[d]) for d in draws]


def _draws(truth: BoolArray, seed: int) -> list[npt.NDArray[np.int64]]:
    """Draw indices of recordings with replacement, in blocks [draws, recordings] (`BLOCK_SIZE`)."""
    n = len(truth)
    draws = np.random.default_rng(seed).integers(0, n, (N_DRAWS, n))
    n_blocks = min(N_DRAWS, -(-N_DRAWS * truth.size // BLOCK_SIZE))
    return np.array_split(draws, max(1, n_blocks))


def _exact_interval(value: float, *, n: int) -> Interval:
    """Return the exact binomial interval of a share that is 0 or 1 in n independent recordings.

    Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26, 404-413: with all n right, the lower limit is the p with p**n = 0.025, which is 0.025**(1/n), and
    the upper one is 1; with none right it is the other way round: 0 to 1 - 0.025**(1/n).
    """
    limit = ((1 - LEVEL) / 2) ** (1 / n)
    return Interval(value, limit, 1.0) if value == 1 else Interval(value, 0.0, 1 - limit)


def _limits(blocks: list[FloatArray]) -> tuple[float, float]:
    differences = np.concatenate(blocks)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return float("nan"), float("nan")
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
