"""Score thresholds by species that guarantee a precision with 95 % confidence.

A threshold is chosen and tested on the same windows, so the best of many thresholds looks better than it is. Therefore
precision is tested by the bound of Hoeffding (1963), and thresholds are tested in a fixed order, from high to low
scores, until one fails (fixed-sequence testing, as in Angelopoulos et al., 2021). There are several starting points,
among which the risk is divided, so that one wrong window with a very high score does not end the test.
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
"""Maximum probability, for each species, that its threshold does not reach the precision."""


@dataclass(frozen=True)
class Threshold:
    """A minimum score (`min_score`) from which a species' detections reach the required precision."""

    min_score: float
    precision: float
    """Share of correct windows among the `n_windows` windows with this score or more."""
    low: float
    """Lower bound of the share of correct detections in other recordings, with 95 % confidence."""
    n_windows: int
    """Number of windows with this score or more."""
    n_groups: int
    """Number of recordings that these windows are from; clips of one recording count once."""


@dataclass(frozen=True)
class NoThreshold:
    """Reason why no threshold of a species reaches the precision.

    If `n_needed` is a number, there are too few recordings; if None, too many wrong windows among the highest scores.
    """

    n_right: int
    """Number of recordings in which the species is present; clips of one recording count once."""
    n_needed: int | None
    """Number of recordings to add to the given ones, if their scores are similar; None if more would not help."""


@dataclass(frozen=True)
class PrecisionThresholds:
    """Thresholds (`chosen`), and reasons for species without one (`refused`), by scientific name."""

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
    """Return for each class the lowest threshold that reaches `precision` with 95 % confidence, or why there is none.

    Args:
        classes: scientific names, in the order of the columns of `scores`.
        scores: scores [windows, classes]; NaN where presence is not known.
        truth: True [windows, classes] for present species.
        precision: the required share of correct detections, above 0 and below 1.
        groups: group index [windows]; windows of a group are dependent, as of one recording. None: all are independent.
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
    """Return the group index [windows] of each window's recording, for `thresholds_for_precision`.

    Clips that were cut from one recording are in one group. Indices are not consecutive.
    """
    return np.array(assign_groups(scores.rows, SAME_RECORDING), np.int64)[scores.recording]


def describe_refusals(refused: dict[str, NoThreshold], precision: float) -> Iterator[str]:
    """Yield a sentence for each species without a threshold that reaches `precision`, in the order of `refused`.

    `refused` are the reasons, by scientific name.
    """
    for name, each in refused.items():
        why = (
            f"its highest scores are not right often enough to show {precision:g}"
            if each.n_needed is None
            else f"{each.n_needed} more recordings like these are needed"
        )
        yield f"no threshold for {name}, right in {counted(each.n_right, 'recording')}: {why}."


@dataclass(frozen=True)
class _Cuts:
    """Candidate thresholds of a class, from high to low, with counts of windows and groups at or above each [cuts]."""

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
    """Return the lowest candidate that passes the test; None if none does."""
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
    """Return how many more recordings the most promising candidate would need."""
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
    """Return the minimum number of groups to prove the precision, if all their windows are correct."""
    return math.ceil(math.log(n_starts / RISK) / -math.log(precision))


def _divergence(share: FloatArray, precision: float) -> FloatArray:
    """Return the relative entropy in nats between shares and the precision; 0 for shares below the precision."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wrong = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - precision)), 0.0)
        right = share * np.log(share / precision)
    return np.where(share > precision, right + wrong, 0.0)


def _lower_bound(share: float, n_groups: int, required: float) -> float:
    """Return the lowest precision that a share of correct windows in `n_groups` groups does not rule out."""
    low, high = 0.0, share
    for _ in range(60):
        middle = (low + high) / 2
        if middle > 0 and n_groups * float(_divergence(np.array(share), middle)) < required:
            high = middle
        else:
            low = middle
    return low
