"""Thresholds and score filters keep what they say, for any scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dawnchorus.evaluation.thresholds import thresholds_for_precision
from dawnchorus.inference.analyses.hits import ScoreFilter

EIGHTHS = [k / 8 for k in range(9)]

scores = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.floats(0, 1, width=16))


@given(values=scores, threshold=st.floats(0, 1, width=16), top=st.none() | st.integers(1, 7), first=st.integers(0, 99))
def test_hits_are_the_best_scores_at_or_above_the_threshold(
    values: np.ndarray, threshold: float, top: int | None, first: int
) -> None:
    thresholds = np.full(values.shape[1], threshold, np.float32)
    hits = ScoreFilter(thresholds=thresholds, top=top).apply(values, first)
    expected = []
    for row, line in enumerate(values):
        kept = sorted((-score, k) for k, score in enumerate(line.tolist()) if score >= thresholds[k])
        expected += [(row + first, k, -negative) for negative, k in kept[:top]]
    assert hits.tolist() == expected


@given(
    values=arrays(
        np.float64, st.tuples(st.integers(0, 200), st.just(1)), elements=st.sampled_from(np.linspace(0, 1, 9))
    ),
    precision=st.sampled_from([0.3, 0.5, 0.8]),
    n_per_group=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_a_threshold_says_what_is_right_from_it_on(
    values: np.ndarray, precision: float, n_per_group: int, seed: int
) -> None:
    truth = np.random.default_rng(seed).random(values.shape) < values**2
    groups = np.arange(len(values)) // n_per_group
    thresholds = thresholds_for_precision(("a",), values, truth, precision=precision, groups=groups)
    threshold, refusal = thresholds.chosen.get("a"), thresholds.refused.get("a")
    assert (threshold is None) != (refusal is None)
    if threshold is not None:
        kept = values[:, 0] >= threshold.min_score
        assert threshold.min_score in values
        assert (threshold.n_windows, threshold.n_groups) == (kept.sum(), len(set(groups[kept].tolist())))
        assert threshold.precision == pytest.approx(truth[kept].mean())
        assert precision <= threshold.low <= threshold.precision
    if refusal is not None:
        assert refusal.n_right == len(set(groups[truth[:, 0]].tolist()))
        assert refusal.n_needed is None or refusal.n_needed > 0
