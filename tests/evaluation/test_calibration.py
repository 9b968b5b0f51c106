"""Calibration of scores, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.evaluation.calibration import fit_calibration
from dawnchorus.metrics import classification
from dawnchorus.models.runner import apply_calibration


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
    from sklearn.linear_model import LogisticRegression

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
