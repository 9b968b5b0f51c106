"""Calibration of scores to probabilities, fitted on held-out recordings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dawnchorus.models.bundle import Calibration
from dawnchorus.models.runner import log_odds

FloatArray = npt.NDArray[np.floating]

N_STEPS = 100
RIDGE = 1e-3


def fit_calibration(scores: FloatArray, truth: npt.NDArray[np.bool_], *, n_recordings: int) -> Calibration | None:
    """Fit Platt scaling (Platt, 1999) from scores to probabilities, one curve for all classes.

    Returns None if the known scores are all of present species, or none of them is: there is no curve to fit. The tests
    compare the result with scikit-learn's logistic regression, which would add 200 MB to an installation.

    Args:
        scores: scores [windows, classes], 0 to 1; NaN where presence is not known.
        truth: True [windows, classes] for present species.
        n_recordings: number of recordings that the windows are from, stored in the result.
    """
    is_known = ~np.isnan(scores)
    x, y = log_odds(scores[is_known]), truth[is_known]
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
