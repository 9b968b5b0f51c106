"""Metrics against scikit-learn and against small cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawnchorus.evaluation.evaluation import METRICS
from dawnchorus.metrics import classification


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_rank_metrics_are_scikit_learns_ties_included(seed: int, n: int, n_classes: int) -> None:
    from sklearn import metrics as sk

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


def test_padded_cmap_weighs_rare_classes_less() -> None:
    truth = np.array([[1, 0], [1, 1], [1, 0], [1, 0]], bool)
    scores = np.array([[0.9, 0.8], [0.8, 0.1], [0.7, 0.2], [0.6, 0.3]])
    assert classification.cmap(truth, scores) == pytest.approx((1 + 0.25) / 2)
    padded = (5 + 1 / 1 * 0 + 6 / 9) / 6  # the one positive row of the second class comes last of 9
    assert classification.cmap(truth, scores, n_padding=5) == pytest.approx((1 + padded) / 2)


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
