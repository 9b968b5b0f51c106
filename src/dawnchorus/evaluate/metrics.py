"""Metrics of scores [rows, classes] against truth [rows, classes]; a row is a window, a recording or an event.

A class without a positive row (or without a negative one) has no rank metrics and is left out of their means, as in
BirdCLEF. All give NaN where nothing can be said.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]


def roc_auc(truth: npt.ArrayLike, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The area under each class's ROC curve [classes]: how often a positive row scores above a negative one.

    By mean ranks (Mann and Whitney, 1947), so that ties count half.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    n_positive = truth.sum(0)
    n_negative = len(truth) - n_positive
    ranks = _mean_ranks(scores)
    above = (ranks * truth).sum(0) - n_positive * (n_positive + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((n_positive > 0) & (n_negative > 0), above / (n_positive * n_negative), np.nan)


def _mean_ranks(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rank of each value in its column, from 1; equal values share the mean of their ranks."""
    order = np.argsort(scores, axis=0, kind="stable")
    ordered = np.take_along_axis(scores, order, 0)
    n = len(scores)
    place = np.arange(n)[:, None]
    is_first = np.vstack([np.ones((1, scores.shape[1]), bool), ordered[1:] != ordered[:-1]])
    is_last = np.vstack([is_first[1:], np.ones((1, scores.shape[1]), bool)])
    first = np.maximum.accumulate(np.where(is_first, place, 0), axis=0)
    last = np.minimum.accumulate(np.where(is_last, place, n)[::-1], axis=0)[::-1]
    ranks = np.empty_like(scores)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, 0)
    return ranks


def macro_roc_auc(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The mean of `roc_auc` over the classes that have one."""
    return _mean(roc_auc(truth, scores))


def average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Each class's average precision [classes]: the mean, over its positive rows, of the precision at their score."""
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    order = np.argsort(-scores, axis=0, kind="stable")
    hits = np.take_along_axis(truth, order, 0)
    ordered = np.take_along_axis(scores, order, 0)
    n = len(scores)
    place = np.arange(n)[:, None]
    # Rows of one score are found together: the precision is that after the last of them.
    is_last = np.vstack([ordered[1:] != ordered[:-1], np.ones((1, scores.shape[1]), bool)])
    last = np.minimum.accumulate(np.where(is_last, place, n)[::-1], axis=0)[::-1]
    precision = np.take_along_axis(hits.cumsum(0), last, 0) / (last + 1)
    total: npt.NDArray[np.float64] = (precision * hits).sum(0)
    return total / np.where(truth.any(0), truth.sum(0), np.nan)


def cmap(truth: npt.ArrayLike, scores: npt.ArrayLike, *, n_padding: int = 0) -> float:
    """The mean of the classes' average precision; with `n_padding` = 5, BirdCLEF 2023's padded cmAP.

    Padding adds so many rows that are positive for every class and score 1, so that rare classes weigh less.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    if n_padding:
        truth = np.vstack([truth, np.ones((n_padding, truth.shape[1]), bool)])
        scores = np.vstack([scores, np.ones((n_padding, scores.shape[1]))])
    return _mean(average_precision(truth, scores))


def top_k_accuracy(truth: npt.ArrayLike, scores: npt.ArrayLike, k: int) -> float:
    """The share of rows with a species of which one is among the k best-scoring classes."""
    truth, scores = np.asarray(truth, bool), np.asarray(scores)
    named = truth.any(1)
    if not named.any():
        return float("nan")
    best = np.argsort(-scores[named], axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(truth[named], best, 1).any(1).mean())


def precision_recall_f1(truth: npt.ArrayLike, found: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Precision, recall and F1 of each class [3, classes] for decisions `found` [rows, classes]."""
    truth, found = np.asarray(truth, bool), np.asarray(found, bool)
    hits, n_found, n_true = (truth & found).sum(0), found.sum(0), truth.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = hits / n_found, hits / n_true
        f1 = 2 * hits / (n_found + n_true)
    return np.stack([precision, recall, f1])


def best_class(scores: npt.ArrayLike) -> BoolArray:
    """The decision for the best-scoring class of every row [rows, classes]."""
    scores = np.asarray(scores)
    found = np.zeros(scores.shape, bool)
    if len(scores):
        found[np.arange(len(scores)), scores.argmax(1)] = True
    return found


def log_loss(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The mean negative logarithm of the share of the scores that the true species of a row have."""
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    named = truth.any(1)
    if not named.any():
        return float("nan")
    shares = scores[named] / np.maximum(scores[named].sum(1, keepdims=True), 1e-12)
    return float(-np.log(np.maximum((shares * truth[named]).sum(1), 1e-12)).mean())


def expected_calibration_error(truth: npt.ArrayLike, probabilities: npt.ArrayLike, *, n_bins: int = 10) -> float:
    """How far, on average, the probability of a decision is from how often it is right (Guo et al., 2017)."""
    truth, probabilities = np.asarray(truth, bool).ravel(), np.asarray(probabilities, np.float64).ravel()
    if not len(truth):
        return float("nan")
    bins = np.minimum((probabilities * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    right = np.bincount(bins, truth, minlength=n_bins)
    said = np.bincount(bins, probabilities, minlength=n_bins)
    return float(np.abs(right - said).sum() / n.sum())


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
