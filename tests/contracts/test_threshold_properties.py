"""Thresholds and score filters keep what they say, for any scores."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dawnchorus.evaluate.calibration import MIN_RIGHT, thresholds_for_precision
from dawnchorus.identify.score import Selection

EIGHTHS = [k / 8 for k in range(9)]

scores = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.floats(0, 1, width=16))


@given(values=scores, threshold=st.floats(0, 1, width=16), top=st.none() | st.integers(1, 7), first=st.integers(0, 99))
def test_hits_are_the_best_scores_at_or_above_the_threshold(
    values: np.ndarray, threshold: float, top: int | None, first: int
) -> None:
    thresholds = np.full(values.shape[1], threshold, np.float32)
    hits = Selection(thresholds=thresholds, top=top).pick(values, first)
    expected = []
    for row, line in enumerate(values):
        kept = sorted((-score, k) for k, score in enumerate(line.tolist()) if score >= thresholds[k])
        expected += [(row + first, k, -negative) for negative, k in kept[:top]]
    assert hits.tolist() == expected


@given(
    values=arrays(
        np.float64, st.tuples(st.integers(1, 60), st.just(1)), elements=st.sampled_from(np.linspace(0, 1, 9))
    ),
    precision=st.sampled_from([0.5, 0.8, 0.9, 1.0]),
    seed=st.integers(0, 99),
)
def test_threshold_is_the_lowest_that_reaches_the_precision(values: np.ndarray, precision: float, seed: int) -> None:
    truth = np.random.default_rng(seed).random(values.shape) < values

    def reaches(threshold: float) -> bool:
        kept = values >= threshold
        return truth[kept].sum() >= MIN_RIGHT and truth[kept].mean() >= precision

    found = thresholds_for_precision(("a",), values, truth, precision=precision)
    lowest = next((float(t) for t in sorted(set(values.ravel())) if reaches(t)), None)
    assert found.get("a") == lowest
