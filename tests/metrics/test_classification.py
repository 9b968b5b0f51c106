"""Metrics against scikit-learn and against small cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from dawnchorus.data.presence import NOT_KNOWN
from dawnchorus.data.recordings import Annotation, RecordingRow
from dawnchorus.evaluation.calibration import fit_calibration
from dawnchorus.evaluation.evaluation import METRICS
from dawnchorus.evaluation.events import count_events
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.evaluation.submission import by_step
from dawnchorus.metrics import classification
from dawnchorus.metrics.bootstrap import describe_no_width, interval, paired_interval
from dawnchorus.models.runner import apply_calibration


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_rank_metrics_are_scikit_learns_ties_included(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (n, n_classes)) / 5
    truth = rng.random((n, n_classes)) < 0.4
    auc, precision = classification.roc_auc(truth, scores), classification.average_precision(truth, scores)
    for k in range(n_classes):
        if truth[:, k].any() and not truth[:, k].all():
            assert auc[k] == pytest.approx(sk.roc_auc_score(truth[:, k], scores[:, k]))
        else:
            assert np.isnan(auc[k]), "no positive or no negative: no value, and none in the mean"
        if truth[:, k].any():
            assert precision[k] == pytest.approx(sk.average_precision_score(truth[:, k], scores[:, k]))


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 4))
def test_resamples_at_once_are_resamples_one_by_one(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (6, n, n_classes)) / 3
    truth = rng.random((6, n, n_classes)) < 0.3
    for name, metric in METRICS.items():
        one_by_one = [metric(t, s) for t, s in zip(truth, scores, strict=True)]
        np.testing.assert_allclose(metric(truth, scores), one_by_one, rtol=1e-12, err_msg=name)


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(2, 6))
def test_metrics_of_rows_with_several_species_are_scikit_learns(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (n, n_classes)) / 5
    truth = rng.random((n, n_classes)) < 0.5
    truth[np.arange(n), rng.integers(0, n_classes, n)] = True
    ranked = METRICS["label_ranking_average_precision"](truth, scores)
    assert ranked == pytest.approx(sk.label_ranking_average_precision_score(truth, scores))
    inside = 0.01 + 0.98 * scores  # scikit-learn bounds probabilities of 0 and 1 elsewhere
    each = [sk.log_loss(truth[:, k], inside[:, k], labels=[False, True]) for k in range(n_classes)]
    assert METRICS["multilabel_log_loss"](truth, inside) == pytest.approx(np.mean(each))
    padding = np.ones((5, n_classes))
    padded = [np.r_[truth, padding.astype(bool)], np.r_[scores, padding]]
    assert METRICS["padded_cmap"](truth, scores) == pytest.approx(sk.average_precision_score(*padded, average="macro"))


def test_rows_without_a_species_have_no_ranked_labels() -> None:
    truth = np.array([[1, 0, 1], [0, 0, 0]], bool)
    scores = np.array([[0.9, 0.5, 0.1], [0.3, 0.2, 0.1]])
    ranked = classification.label_ranking_average_precision(truth, scores)
    assert ranked[0] == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(ranked[1])
    assert METRICS["label_ranking_average_precision"](truth, scores) == ranked[0]
    assert classification.multilabel_log_loss([[1, 0]], [[0.0, 0.0]]) == pytest.approx(-np.log(1e-12) / 2), "finite"


@given(st.integers(0, 10_000))
def test_a_masked_pair_counts_neither_for_nor_against(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.eye(3, dtype=bool)[rng.integers(0, 3, 12)]
    scores = rng.random((12, 3))
    masked = np.where(~truth & (rng.random(truth.shape) < 0.3), np.nan, scores)
    for k in range(3):
        known = ~np.isnan(masked[:, k])
        left = truth[known][:, [k]], scores[known][:, [k]]
        np.testing.assert_allclose(classification.roc_auc(truth, masked)[k], classification.roc_auc(*left)[0])
        np.testing.assert_allclose(
            classification.average_precision(truth, masked)[k], classification.average_precision(*left)[0]
        )
    for name, metric in METRICS.items():
        if not name.endswith(("auc", "cmap", "multilabel_log_loss")):  # ranked and decided within a row
            lowest = np.nan_to_num(masked, nan=0.0)
            np.testing.assert_allclose(metric(truth, masked), metric(truth, lowest), err_msg=name)
    known = ~np.isnan(masked)
    error = classification.expected_calibration_error(truth, masked)
    assert error == classification.expected_calibration_error(truth[known], masked[known])
    for loss, own, seen, score in zip(
        classification.multilabel_log_loss(truth, masked), truth, known, scores, strict=True
    ):
        assert loss == pytest.approx(classification.multilabel_log_loss(own[None, seen], score[None, seen])[0])


def test_macro_auc_leaves_out_empty_classes_as_birdclef_does() -> None:
    truth = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0]], bool)
    scores = np.array([[0.9, 0.9, 0.1], [0.2, 0.1, 0.8], [0.1, 0.5, 0.3]])
    assert classification.macro_roc_auc(truth, scores) == pytest.approx((0.5 + 1.0) / 2)
    assert np.isnan(classification.macro_roc_auc(np.zeros((2, 2)), np.zeros((2, 2))))


def test_decisions_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    truth = np.eye(5, dtype=bool)[rng.integers(0, 5, 80)]
    scores = rng.random((80, 5)) + truth
    named, predicted = truth.argmax(1), scores.argmax(1)
    for name in ("accuracy", "top_1"):
        assert METRICS[name](truth, scores) == pytest.approx(sk.accuracy_score(named, predicted))
    for average in ("macro", "micro", "weighted"):
        assert METRICS[f"{average}_f1"](truth, scores) == pytest.approx(sk.f1_score(named, predicted, average=average))
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score)):
            if average != "micro":
                expected = score(named, predicted, average=average)
                assert METRICS[f"{average}_{name}"](truth, scores) == pytest.approx(expected)
    shares = scores / scores.sum(1, keepdims=True)
    assert METRICS["log_loss"](truth, scores) == pytest.approx(sk.log_loss(named, shares))
    assert METRICS["top_5"](truth, scores) == 1.0


def test_padded_cmap_weighs_rare_classes_less() -> None:
    truth = np.array([[1, 0], [1, 1], [1, 0], [1, 0]], bool)
    scores = np.array([[0.9, 0.8], [0.8, 0.1], [0.7, 0.2], [0.6, 0.3]])
    assert classification.cmap(truth, scores) == pytest.approx((1 + 0.25) / 2)
    padded = (5 + 1 / 1 * 0 + 6 / 9) / 6  # the one positive row of the second class comes last of 9
    assert classification.cmap(truth, scores, n_padding=5) == pytest.approx((1 + padded) / 2)


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


def test_calibration_recovers_the_curve_that_made_the_truth() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random((20_000, 1))
    odds = 0.6 * np.log(scores / (1 - scores)) - 1.0
    truth = rng.random(scores.shape) < 1 / (1 + np.exp(-odds))
    calibration = fit_calibration(scores, truth, n_recordings=100)
    assert calibration is not None
    assert (calibration.scale, calibration.offset) == (pytest.approx(0.6, abs=0.05), pytest.approx(-1.0, abs=0.07))
    before = classification.expected_calibration_error(truth, scores)
    assert classification.expected_calibration_error(truth, apply_calibration(scores, calibration)) < before / 5
    assert fit_calibration(scores, np.zeros_like(truth), n_recordings=1) is None
    perfect = fit_calibration(np.array([[0.99], [0.01]] * 20), np.array([[True], [False]] * 20), n_recordings=2)
    assert perfect is not None
    assert apply_calibration(np.array([0.99]), perfect)[0] < 0.999, "forty windows prove no certainty"


@pytest.mark.parametrize("seed", range(5))
def test_calibration_is_the_logistic_regression_of_scikit_learn_on_platts_targets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((300, 3))
    truth = rng.random(scores.shape) < 1 / (1 + np.exp(-(0.4 + 0.3 * seed) * np.log(scores / (1 - scores)) + seed - 2))
    calibration = fit_calibration(scores, truth, n_recordings=1)
    x, n_right, n_wrong = np.log(scores / (1 - scores)).reshape(-1, 1), truth.sum(), (~truth).sum()
    targets = np.where(truth, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2)).ravel()
    both, weights = np.repeat([1, 0], len(x)), np.concatenate([targets, 1 - targets])
    expected = LogisticRegression(C=np.inf, tol=1e-10).fit(np.concatenate([x, x]), both, sample_weight=weights)
    assert calibration is not None
    assert (calibration.scale, calibration.offset) == (
        pytest.approx(expected.coef_[0, 0], abs=1e-3),
        pytest.approx(expected.intercept_[0], abs=1e-3),
    )


def test_events_join_windows_and_count_both_ways() -> None:
    row = RecordingRow(
        recording_id="r",
        path="r.wav",
        kind="soundscape",
        annotations=(
            Annotation(start_s=1, end_s=5, scientific_name="A a"),
            Annotation(start_s=20, end_s=21, scientific_name="A a"),
        ),
    )
    values = np.array([0.9, 0.8, 0.0, 0.7, 0.0, 0.0, 0.0, 0.0])[:, None]
    scores = Scores(
        classes=("A a",),
        rows=(row,),
        recording=np.zeros(8, int),
        start_s=np.arange(8) * 3.0,
        window_s=3.0,
        scores=values,
        presence=np.zeros((8, 1), np.int8),
        failures={},
    )
    counts = count_events(scores)["0.5"]
    assert (counts.n_predicted, counts.n_correct, counts.n_annotated, counts.n_recalled) == (2, 1, 2, 1)
    assert (counts.precision, counts.recall) == (0.5, 0.5)
    assert np.isnan(count_events(scores)["0.9"].precision) or counts.n_predicted


@pytest.mark.parametrize("window_s", [3.0, 5.0, 10.0])
def test_every_five_seconds_of_a_submission_have_the_score_of_what_is_there(window_s: float) -> None:
    starts = np.arange(0, 20, window_s)
    scores = Scores(
        classes=("A a",),
        rows=(RecordingRow(recording_id="r", path="x/soundscape_1.ogg", duration_s=20.0),),
        recording=np.zeros(len(starts), int),
        start_s=starts,
        window_s=window_s,
        scores=np.full((len(starts), 1), 0.8),
        presence=np.full((len(starts), 1), NOT_KNOWN, np.int8),
        failures={},
    )
    ids, values = by_step(scores, {"r": "soundscape_1"})
    assert ids == [f"soundscape_1_{end}" for end in (5, 10, 15, 20)]
    assert values[:, 0].tolist() == [0.8] * 4


def test_top_k_counts_rows_with_any_of_their_species_among_the_best() -> None:
    truth = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    scores = np.array([[0.9, 0.8, 0.1, 0.0], [0.9, 0.1, 0.5, 0.6], [1, 1, 1, 1], [0.9, 0.8, 0.7, 0.1]])
    assert [classification.top_k_accuracy(truth, scores, k) for k in (1, 2, 3, 4)] == pytest.approx(
        [1 / 3, 2 / 3, 2 / 3, 1]
    )
    assert np.isnan(classification.top_k_accuracy(truth[2:3], scores[2:3], 1)), "no row has a species"
    ties = np.array([[0.5, 0.5]])
    assert classification.top_k_accuracy([[1, 0]], ties, 1) == 1, "the first class wins"
    assert classification.top_k_accuracy([[0, 1]], ties, 1) == 0


def test_precision_recall_and_f1_by_hand() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]], bool)
    predicted = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]], bool)
    precision, recall, f1 = classification.precision_recall_f1(truth, predicted)
    assert precision[:2] == pytest.approx([1 / 3, 1 / 2])
    assert recall[:2] == pytest.approx([1 / 2, 1 / 3])
    assert f1[:2] == pytest.approx([2 / 5, 2 / 5])
    assert np.isnan([precision[2], recall[2], f1[2]]).all()


def test_best_class_marks_one_class_of_every_row() -> None:
    assert classification.best_class([[0.1, 0.9], [0.5, 0.5]]).tolist() == [[False, True], [True, False]]
    assert classification.best_class(np.zeros((0, 3))).shape == (0, 3)


def test_log_loss_is_that_of_the_shares() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 1]], bool)
    scores = np.array([[0.2, 0.6], [0.5, 0.5], [0.3, 0.1]])
    np.testing.assert_allclose(classification.log_loss(truth, scores), [-np.log(0.25), np.nan, 0], atol=1e-12)
    assert METRICS["log_loss"](truth, scores) == pytest.approx(-np.log(0.25) / 2)
    assert classification.log_loss([[1, 0]], [[0.0, 0.0]]) == pytest.approx(-np.log(1e-12)), "finite"
    assert classification.log_loss([[1, 0]], [[0.0, 0.4]]) == pytest.approx(-np.log(1e-12))
    assert np.isnan(METRICS["log_loss"](np.zeros((1, 2), bool), np.full((1, 2), 0.5)))


def test_calibration_error_by_hand() -> None:
    truth = [[0, 1], [1, 0]]
    probabilities = [[1.0, 0.95], [0.45, 0.05]]
    # bins of 0.1: {1.0, 0.95} with one right, {0.45} right, {0.05} wrong
    expected = (abs(1 - 1.95) + abs(1 - 0.45) + abs(0 - 0.05)) / 4
    assert classification.expected_calibration_error(truth, probabilities) == pytest.approx(expected)
    assert classification.expected_calibration_error(truth, probabilities, n_bins=1) == pytest.approx(abs(2 - 2.45) / 4)
    assert classification.expected_calibration_error([[1]], [[0.75]], n_bins=4) == pytest.approx(0.25)
    assert np.isnan(classification.expected_calibration_error(np.zeros((0, 2)), np.zeros((0, 2))))


def test_means_leave_out_classes_of_which_nothing_can_be_said() -> None:
    truth = np.array([[1, 1, 0], [0, 1, 0]], bool)
    scores = np.array([[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]])
    auc = classification.roc_auc(truth, scores)
    assert auc[0] == 1
    assert np.isnan(auc[1:]).all(), "only positive rows, only negative rows"
    assert classification.macro_roc_auc(truth, scores) == 1
    assert classification.cmap(truth, scores) == 1
    assert classification.cmap(truth, scores, n_padding=1) == pytest.approx((1 + 1 + 1) / 3)
    assert np.isnan(classification.cmap(np.zeros((2, 1)), np.zeros((2, 1))))


def test_average_precision_of_ties_is_that_after_the_last_of_them() -> None:
    truth = np.array([[1], [0], [1], [0]], bool)
    assert classification.average_precision(truth, [[0.5], [0.5], [0.5], [0.1]]) == pytest.approx([2 / 3])
    assert classification.average_precision(truth, [[0.9], [0.5], [0.5], [0.1]]) == pytest.approx([(1 + 2 / 3) / 2])
    assert classification.roc_auc(truth, [[0.5], [0.5], [0.5], [0.1]]) == pytest.approx([(0.5 + 1 + 0.5 + 1) / 4])
