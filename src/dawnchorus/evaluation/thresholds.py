"""Thresholds of each species that guarantee a precision.

A threshold is chosen and judged on the same windows, and the best of many looks better than it is. So a threshold is
taken only where the promise holds with 95 % confidence whatever is chosen: shares are held against the bound of
Hoeffding (1963), and cuts are tested in a fixed order, from high scores down, until one fails (fixed-sequence testing,
as in Angelopoulos et al., 2021). There are several starting points, each with its part of the risk, so that one wrong
window among the very best does not end it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.data.relations import SAME_RECORDING, assign_groups
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.tables.notes import counted

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

RISK = 0.05
"""Maximum probability that the precision is not reached."""


@dataclass(frozen=True)
class Threshold:
    """A score above which a species' detections reach the required precision."""

    min_score: float
    precision: float
    """Share of correct windows from this score on."""
    low: float
    """The share of correct detections in other recordings is at least this, with 95 % confidence."""
    n_windows: int
    n_groups: int
    """Recordings that these windows are from; clips of one count once."""


@dataclass(frozen=True)
class NoThreshold:
    """A species for which no threshold reaches the precision, with the reason."""

    n_right: int
    """Recordings with a right window; clips of one count once."""
    n_needed: int | None
    """Number of further recordings needed if they are as good as these; None if more would not help."""


@dataclass(frozen=True)
class PrecisionThresholds:
    """Thresholds of the species that have one, and what is missing for the others, by name."""

    chosen: dict[str, Threshold]
    refused: dict[str, NoThreshold]


def thresholds_for_precision(
    classes: Sequence[str],
    scores: FloatArray,
    truth: BoolArray,
    *,
    precision: float,
    groups: IntArray | None = None,
) -> PrecisionThresholds:
    """Choose the lowest threshold of each class that reaches `precision` with 95 % confidence.

    Args:
        classes: names, in the order of the columns.
        scores: [windows, classes]; NaN where it is not known whether the species is there.
        truth: [windows, classes].
        precision: above 0, below 1.
        groups: [windows]; windows of one number are one piece of evidence. Default: each window is one.
    """
    groups = np.arange(len(scores)) if groups is None else groups
    thresholds = PrecisionThresholds({}, {})
    for k, name in enumerate(classes):
        is_known = ~np.isnan(scores[:, k])
        cuts = _cuts(scores[is_known, k], truth[is_known, k], groups[is_known])
        threshold = _choose(cuts, precision)
        if threshold is not None:
            thresholds.chosen[name] = threshold
        else:
            thresholds.refused[name] = _refuse(cuts, precision)
    return thresholds


def group_windows(scores: Scores) -> IntArray:
    """Return the group index [windows] of related recordings, whose windows are not independent."""
    return np.array(assign_groups(scores.rows, SAME_RECORDING), np.int64)[scores.recording]


def describe_refusals(refused: dict[str, NoThreshold], precision: float) -> Iterator[str]:
    """Yield a sentence for each species without a threshold."""
    for name, each in refused.items():
        why = (
            f"its highest scores are not right often enough to show {precision:g}"
            if each.n_needed is None
            else f"{each.n_needed} more recordings like these are needed"
        )
        yield f"no threshold for {name}, right in {counted(each.n_right, 'recording')}: {why}."


@dataclass(frozen=True)
class _Cuts:
    """All windows of a class from each of its scores on, from the highest score down [cuts]."""

    min_score: FloatArray
    n_windows: IntArray
    n_right: IntArray
    n_groups: IntArray
    n_groups_right: int

    @property
    def share(self) -> FloatArray:
        return self.n_right / self.n_windows


def _cuts(scores: FloatArray, truth: BoolArray, groups: IntArray) -> _Cuts:
    order = np.argsort(-scores, kind="stable")
    values, right = scores[order], truth[order]
    is_new = np.zeros(len(order), bool)
    is_new[np.unique(groups[order], return_index=True)[1]] = True
    is_last = np.append(values[1:] != values[:-1], True)[: len(order)]
    return _Cuts(
        min_score=values[is_last],
        n_windows=np.flatnonzero(is_last) + 1,
        n_right=right.cumsum()[is_last],
        n_groups=is_new.cumsum()[is_last],
        n_groups_right=len(np.unique(groups[truth])),
    )


def _choose(cuts: _Cuts, precision: float) -> Threshold | None:
    """Return the lowest cut that passes; None where none does."""
    n_all = int(cuts.n_groups[-1]) if len(cuts.n_groups) else 0
    n_starts = 1
    while _fewest(precision, n_starts + 1) * 2**n_starts <= n_all:
        n_starts += 1
    required = math.log(n_starts / RISK)
    passes = cuts.n_groups * _divergence(cuts.share, precision) >= required
    chosen = -1
    for k in range(n_starts):
        first = int(np.searchsorted(cuts.n_groups, _fewest(precision, n_starts) * 2**k))
        fails = np.flatnonzero(~passes[first:])
        last = first + int(fails[0]) - 1 if len(fails) else len(passes) - 1
        if last >= first:
            chosen = max(chosen, last)
    if chosen < 0:
        return None
    return Threshold(
        min_score=float(cuts.min_score[chosen]),
        precision=float(cuts.share[chosen]),
        low=_lower_bound(float(cuts.share[chosen]), int(cuts.n_groups[chosen]), required),
        n_windows=int(cuts.n_windows[chosen]),
        n_groups=int(cuts.n_groups[chosen]),
    )


def _refuse(cuts: _Cuts, precision: float) -> NoThreshold:
    """Return how much more evidence the most promising cut would need."""
    n_right = cuts.n_groups_right
    if not n_right:
        return NoThreshold(0, _fewest(precision, 1))
    divergence = _divergence(cuts.share, precision)
    best = int(np.argmax(divergence * cuts.n_groups))
    if not divergence[best]:
        return NoThreshold(n_right, None)
    n_needed = math.ceil(math.log(1 / RISK) / float(divergence[best])) - int(cuts.n_groups[best])
    return NoThreshold(n_right, n_needed if n_needed > 0 else None)


def _fewest(precision: float, n_starts: int) -> int:
    """Return the fewest groups that can show the precision, if all are right."""
    return math.ceil(math.log(n_starts / RISK) / -math.log(precision))


def _divergence(share: FloatArray, precision: float) -> FloatArray:
    """Return the relative entropy of shares above the precision and the precision, in nats; 0 for others."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wrong = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - precision)), 0.0)
        right = share * np.log(share / precision)
    return np.where(share > precision, right + wrong, 0.0)


def _lower_bound(share: float, n_groups: int, required: float) -> float:
    """Return the smallest precision that the share of so many groups does not rule out."""
    low, high = 0.0, share
    for _ in range(60):
        middle = (low + high) / 2
        if middle > 0 and n_groups * float(_divergence(np.array(share), middle)) < required:
            high = middle
        else:
            low = middle
    return low
