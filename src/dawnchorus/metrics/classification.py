"""Classification metrics of scores and ground truth, both [..., rows, classes].

A row is a window, recording or event. `truth` is converted to bool, and scores are from 0 to 1. Leading dimensions
(`...`) are kept in the result, so that a call computes the metric of many bootstrap samples. A class without a positive
row, or for `roc_auc` without a negative row, has no value and is left out of means over classes, as in BirdCLEF. A NaN
score masks the class in this row: the pair is ignored; its truth must be False. A metric that is not defined is NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SMALLEST_PROBABILITY = 1e-12
"""Lower bound of probabilities in logarithms, which keeps losses finite."""


def roc_auc(truth: npt.ArrayLike, scores: npt.ArrayLike) -> FloatArray:
    """Return the area under the ROC curve of each class [..., classes].

    `truth` and `scores` are [..., rows, classes]; see the module. A class without a positive row, or without a negative
    row, is NaN.

    Computed from mean ranks (Mann and Whitney, 1947): a positive and a negative row with equal scores count as half a
    correct pair.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    n_positive = truth.sum(-2)
    n_negative = (~truth & ~np.isnan(scores)).sum(-2)
    above = (_mean_ranks(scores) * truth).sum(-2) - n_positive * (n_positive + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((n_positive > 0) & (n_negative > 0), above / (n_positive * n_negative), np.nan)


def _mean_ranks(scores: FloatArray) -> FloatArray:
    """Return the rank of each value in its column, from 1; equal values share the mean of their ranks."""
    order = np.argsort(scores, axis=-2, kind="stable")
    ordered = np.take_along_axis(scores, order, -2)
    ranks = np.empty_like(scores)
    np.put_along_axis(ranks, order, (_find_first_equal(ordered) + _find_last_equal(ordered)) / 2 + 1, -2)
    return ranks


def _find_last_equal(ordered: FloatArray) -> npt.NDArray[np.int64]:
    """Return, for each value of sorted columns, the index of the last one that equals it [..., rows, classes]."""
    n = ordered.shape[-2]
    is_last = np.ones(ordered.shape, bool)
    is_last[..., :-1, :] = ordered[..., 1:, :] != ordered[..., :-1, :]
    positions = np.where(is_last, np.arange(n)[:, None], n)
    last: npt.NDArray[np.int64] = np.flip(np.minimum.accumulate(np.flip(positions, -2), axis=-2), -2)
    return last


def _find_first_equal(ordered: FloatArray) -> npt.NDArray[np.int64]:
    """Return, for each value of sorted columns, the index of the first one that equals it [..., rows, classes]."""
    from_the_end = _find_last_equal(np.flip(ordered, -2))
    first: npt.NDArray[np.int64] = ordered.shape[-2] - 1 - np.flip(from_the_end, -2)
    return first


def macro_roc_auc(truth: npt.ArrayLike, scores: npt.ArrayLike) -> FloatArray:
    """Return the mean of `roc_auc` over the classes that have positive and negative rows [...].

    `truth` and `scores` are [..., rows, classes]; see the module. The mean is NaN if there is no such class.
    """
    return average_known(roc_auc(truth, scores))


def average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike) -> FloatArray:
    """Return the average precision of each class [..., classes], as scikit-learn defines it.

    `truth` and `scores` are [..., rows, classes]; see the module. A class without a positive row is NaN.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    order = np.argsort(-scores, axis=-2, kind="stable")
    hits = np.take_along_axis(truth, order, -2)
    # Rows of one score are found together: the precision is that after the last of them.
    last = _find_last_equal(np.take_along_axis(scores, order, -2))
    precision = np.take_along_axis(hits.cumsum(-2), last, -2) / (last + 1)
    return _over((precision * hits).sum(-2), truth.sum(-2))


def cmap(truth: npt.ArrayLike, scores: npt.ArrayLike, *, n_padding: int = 0) -> FloatArray:
    """Return cmAP, the mean of the average precision of the classes [...]; NaN if no class has a positive row.

    Args:
        truth: ground truth [..., rows, classes].
        scores: scores [..., rows, classes].
        n_padding: number of added rows in which every class is present and has the score 1, so that classes with few
            positive rows vary less. 0 leaves classes without a positive row out of the mean; 5 gives the padded cmAP of
            BirdCLEF 2023.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    is_of_any = truth.any((-2, -1))
    if n_padding:
        padding = np.ones((*truth.shape[:-2], n_padding, truth.shape[-1]))
        truth = np.concatenate([truth, padding.astype(bool)], axis=-2)
        scores = np.concatenate([scores, padding], axis=-2)
    return np.where(is_of_any, average_known(average_precision(truth, scores)), np.nan)


def label_ranking_average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike) -> FloatArray:
    """Return the average precision of each row's true species in the row's ranking of classes [..., rows].

    `truth` and `scores` are [..., rows, classes]; see the module. A row without a true species is NaN; scikit-learn
    counts such a row as 1.
    """
    by_class, scores_by_class = (np.swapaxes(np.asarray(values), -1, -2) for values in (truth, scores))
    return average_precision(by_class, scores_by_class)


def top_k_hits(truth: npt.ArrayLike, scores: npt.ArrayLike, k: int) -> FloatArray:
    """Return 1 for each row with a true species among its k highest-scoring classes, else 0 [..., rows].

    `truth` and `scores` are [..., rows, classes]; see the module. Of classes with equal scores, the first counts as
    higher. A row without a true species is NaN.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores)
    best = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    return np.where(truth.any(-1), np.take_along_axis(truth, best, -1).any(-1), np.nan)


def top_k_accuracy(truth: npt.ArrayLike, scores: npt.ArrayLike, k: int) -> FloatArray:
    """Return the share of rows with a true species among their k highest-scoring classes [...].

    `truth` and `scores` are [..., rows, classes]; see the module. Rows without a true species are left out;
    NaN if there are no other rows.
    """
    return average_known(top_k_hits(truth, scores, k))


def precision_recall_f1(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> FloatArray:
    """Return precision, recall and F1 of each class, in this order [3, ..., classes].

    Precision is NaN for a class that is never predicted, recall for a class that is never present, and F1 for a class
    that is neither predicted nor present.

    Args:
        y_true: True if the class is present [..., rows, classes].
        y_pred: True if the class is predicted [..., rows, classes].
    """
    y_true, y_pred = np.asarray(y_true, bool), np.asarray(y_pred, bool)
    hits, n_predicted, n_true = (y_true & y_pred).sum(-2), y_pred.sum(-2), y_true.sum(-2)
    return np.stack([_over(hits, n_predicted), _over(hits, n_true), _over(2 * hits, n_predicted + n_true)])


def best_index(scores: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the index of the highest-scoring class of each row of scores [..., rows, classes], as [..., rows].

    Of classes with equal scores, the first counts; NaN counts as the lowest score.
    """
    scores = np.asarray(scores, np.float64)
    best: npt.NDArray[np.int64] = np.where(np.isnan(scores), -np.inf, scores).argmax(-1)
    return best


def best_class(scores: npt.ArrayLike) -> BoolArray:
    """Return a mask [..., rows, classes] for scores of this shape: True only for the class of `best_index` in a row."""
    is_best = np.zeros(np.shape(scores), bool)
    np.put_along_axis(is_best, best_index(scores)[..., None], values=True, axis=-1)
    return is_best


def log_loss(truth: npt.ArrayLike, scores: npt.ArrayLike) -> FloatArray:
    """Return the log loss of each row, with its scores normalized to sum to 1 [..., rows].

    The loss is the negative logarithm of the sum of the normalized scores of the row's true species: for a row with one
    true species, the cross-entropy. `truth` and `scores` are [..., rows, classes]; see the module. Scores of NaN count
    as 0. A row without a true species is NaN.
    """
    truth, scores = np.asarray(truth, bool), np.nan_to_num(np.asarray(scores, np.float64))
    shares = (scores * truth).sum(-1) / np.maximum(scores.sum(-1), SMALLEST_PROBABILITY)
    return np.where(truth.any(-1), -np.log(np.maximum(shares, SMALLEST_PROBABILITY)), np.nan)


def multilabel_log_loss(truth: npt.ArrayLike, scores: npt.ArrayLike) -> FloatArray:
    """Return the binary cross-entropy of each row, averaged over classes whose score is not NaN [..., rows].

    `truth` and `scores` are [..., rows, classes]; see the module. A row in which all scores are NaN is NaN.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    return average_known(-np.log(np.maximum(np.where(truth, scores, 1 - scores), SMALLEST_PROBABILITY)))


def expected_calibration_error(truth: npt.ArrayLike, probabilities: npt.ArrayLike, *, n_bins: int = 10) -> float:
    """Return the expected calibration error, the mean gap between probability and accuracy (Guo et al., 2017).

    Predictions are binned by probability. The gap of a bin is the absolute difference between its mean probability and
    its share of True in `truth`, weighted by its number of predictions. NaN without predictions.

    Args:
        truth: True if the predicted class is present, False if not; array of any shape with one value for each
            prediction, such as [rows] or [rows, classes].
        probabilities: predicted probability that the class is present, of the same shape; predictions with NaN are
            ignored.
        n_bins: number of bins of equal width, from 0 to 1.
    """
    each = np.asarray(probabilities, np.float64)
    known = ~np.isnan(each)
    is_right, each = np.asarray(truth, bool)[known], each[known]
    if not len(each):
        return float("nan")
    bins = np.minimum((each * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    right = np.bincount(bins, is_right, minlength=n_bins)
    predicted = np.bincount(bins, each, minlength=n_bins)
    return float(np.abs(right - predicted).sum() / n.sum())


def average_known(values: FloatArray) -> FloatArray:
    """Return the mean over the last axis of the values [..., n] that are not NaN, as [...]; NaN if there are none."""
    known = ~np.isnan(values)
    return _over(np.where(known, values, 0).sum(-1), known.sum(-1))


def _over(values: npt.ArrayLike, counts: npt.ArrayLike) -> FloatArray:
    """Divide; NaN where the count is 0."""
    counts = np.asarray(counts)
    return np.asarray(values) / np.where(counts > 0, counts, np.nan)
