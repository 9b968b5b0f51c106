"""Comparison of a new bundle's logits with those of its source."""

from __future__ import annotations

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import open_session

NOISE_LEVEL = 0.05
"""Standard deviation of the samples of `noise_windows`."""


def noise_windows(bundle: Bundle, n: int) -> FloatArray:
    """Return `n` windows of Gaussian noise [n, samples] of the bundle's window length, the same in each call."""
    return np.random.default_rng(1).normal(0, NOISE_LEVEL, (n, bundle.window_samples)).astype(np.float32)


def largest_difference(logits: FloatArray, expected: FloatArray) -> float:
    """Return the maximum absolute difference of logits [n, classes] from the `expected` logits [n, classes].

    The difference is divided by the largest absolute value in `expected`, if this value exceeds 1.
    """
    return float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1.0))


def check_parity(bundle: Bundle, windows: FloatArray, expected: FloatArray, *, tolerance: float, source: str) -> None:
    """Check that the bundle's logits for test windows equal the `expected` logits.

    Args:
        bundle: the new bundle.
        windows: test windows [n, samples].
        expected: logits [n, classes] of the source, the model from which the bundle was made.
        tolerance: maximum of `largest_difference`.
        source: name of the source, for the error message.

    Raises:
        ModelError: the difference exceeds `tolerance`, or the bundle cannot be run.
    """
    difference = largest_difference(open_session(bundle).run(windows).logits, expected)
    if not difference <= tolerance:
        raise ModelError(
            f"{bundle.info.name}: expected the new graph's logits to differ from those of {source} by at most "
            f"{tolerance:g} of the largest, got {difference:.2g}. The bundle was not written."
        )
