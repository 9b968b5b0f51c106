"""Confidence intervals, against resampling by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.evaluation.evaluation import METRICS
from dawnchorus.metrics.bootstrap import describe_no_width, interval, paired_interval, ratio_interval, resampled_sums


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 4))
def test_resamples_at_once_are_resamples_one_by_one(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (6, n, n_classes)) / 3
    truth = rng.random((6, n, n_classes)) < 0.3
    for name, metric in METRICS.items():
        one_by_one = [metric(t, s) for t, s in zip(truth, scores, strict=True)]
        np.testing.assert_allclose(metric(truth, scores), one_by_one, rtol=1e-12, err_msg=name)


def test_intervals_hold_the_value_and_shrink_with_more_recordings() -> None:
    rng = np.random.default_rng(1)

    def data(n: int) -> tuple[np.ndarray, np.ndarray]:
        truth = np.eye(3, dtype=bool)[rng.integers(0, 3, n)]
        return truth, truth * 0.5 + rng.random((n, 3))

    widths = []
    for n in (40, 640):
        truth, scores = data(n)
        estimate = interval(METRICS["top_1"], truth, scores)
        assert estimate.low <= estimate.value <= estimate.high
        widths.append(estimate.high - estimate.low)
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.4)
    same = paired_interval(METRICS["top_1"], truth, scores, scores)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = paired_interval(METRICS["top_1"], truth, truth.astype(float), scores)
    assert better.low > 0


@pytest.mark.parametrize("n", [1, 3, 100])
def test_shares_of_few_recordings_have_the_exact_binomial_interval_where_all_or_none_are_right(n: int) -> None:
    truth = np.tile([True, False], (n + 2, 1))
    truth[n:] = False  # recordings without a species count neither way
    right, wrong = (interval(METRICS["top_1"], truth, scores) for scores in (truth * 1.0, 1.0 - truth))
    assert (right.value, right.high, wrong.value, wrong.low) == (1, 1, 0, 0)
    assert right.low**n == pytest.approx(0.025)
    assert (1 - wrong.high) ** n == pytest.approx(0.025)
    assert not right.has_no_width
    nothing = interval(METRICS["top_1"], np.zeros((2, 2), bool), np.zeros((2, 2)))
    assert str(nothing) == "not defined"


def test_metrics_whose_intervals_say_nothing_are_named() -> None:
    truth = np.eye(2, dtype=bool)[[0, 1, 0]]
    intervals = {name: interval(METRICS[name], truth, truth * 1.0) for name in ("accuracy", "cmap", "macro_f1")}
    assert describe_no_width(intervals, 3) == (
        "note: the intervals of cmap, macro f1 say nothing, because every draw of 3 recordings gives the same."
    )
    assert describe_no_width({"accuracy": intervals["accuracy"]}, 3) is None


@pytest.mark.parametrize("name", ["accuracy", "label_ranking_average_precision", "log_loss", "multilabel_log_loss"])
def test_intervals_of_means_over_rows_are_those_of_every_resample_computed_anew(name: str) -> None:
    rng = np.random.default_rng(4)
    truth, first, second = rng.random((30, 4)) < 0.3, rng.random((30, 4)), rng.random((30, 4))
    metric = METRICS[name]
    anew = metric.__call__  # not known as a mean over rows
    for own, expected in (
        (interval(metric, truth, first), interval(anew, truth, first)),
        (paired_interval(metric, truth, first, second), paired_interval(anew, truth, first, second)),
    ):
        assert (own.value, own.low, own.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_a_ratio_of_sums_is_resampled_by_recordings() -> None:
    rng = np.random.default_rng(5)
    whole = rng.integers(0, 5, 40).astype(float)
    part = np.minimum(rng.integers(0, 5, 40), whole)
    result = ratio_interval(part, whole)
    assert result.value == part.sum() / whole.sum()
    sums = resampled_sums(np.stack([part, whole], axis=1))
    assert [result.low, result.high] == pytest.approx(np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975]))
    assert str(ratio_interval(np.zeros(3), np.zeros(3))) == "not defined"
