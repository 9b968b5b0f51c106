"""From scores to probabilities, and to thresholds that keep a promise; both fitted on recordings kept back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dawnchorus.models.bundle import Calibration
from dawnchorus.models.runner import log_odds

FloatArray = npt.NDArray[np.floating]

N_STEPS = 100
RIDGE = 1e-3
MIN_RIGHT = 5
"""With fewer right windows than this, a threshold would promise what nobody measured."""


def fit_calibration(scores: FloatArray, truth: npt.NDArray[np.bool_], *, n_recordings: int) -> Calibration | None:
    """The curve sigmoid(scale * log odds + offset) that makes scores [windows, classes] probabilities (Platt, 1999).

    None where nothing, or everything, is right: there is no curve to fit.
    """
    x, y = log_odds(scores).ravel(), truth.ravel()
    if y.all() or not y.any():
        return None
    # Platt's targets keep a perfect separation from becoming certainty.
    n_right, n_wrong = int(y.sum()), int((~y).sum())
    target = np.where(y, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))
    inputs = np.stack([x, np.ones_like(x)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(N_STEPS):  # Newton's method, with a little pull towards leaving scores as they are
        p = 1 / (1 + np.exp(-(inputs @ weights)))
        gradient = inputs.T @ (p - target) + RIDGE * (weights - [1.0, 0.0])
        hessian = (inputs * (p * (1 - p))[:, None]).T @ inputs + RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-8:
            break
    return Calibration(scale=round(float(weights[0]), 6), offset=round(float(weights[1]), 6), n_recordings=n_recordings)


def thresholds_for_precision(
    classes: tuple[str, ...], scores: FloatArray, truth: npt.NDArray[np.bool_], *, precision: float
) -> dict[str, float]:
    """For each class the smallest score from which at least so large a share of its windows is right.

    Classes for which no threshold keeps that, or fewer than `MIN_RIGHT` right windows show it, are left out.
    """
    found = {}
    for k, name in enumerate(classes):
        order = np.argsort(-scores[:, k], kind="stable")[: np.count_nonzero(~np.isnan(scores[:, k]))]
        values, right = scores[order, k], truth[order, k].cumsum()
        share = right / np.arange(1, len(order) + 1)
        is_last = np.append(values[1:] != values[:-1], True)
        fits = np.flatnonzero(is_last & (share >= precision) & (right >= MIN_RIGHT))
        if len(fits):
            found[name] = float(values[fits[-1]])
    return found
