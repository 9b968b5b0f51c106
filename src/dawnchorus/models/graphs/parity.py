"""Comparison of a new bundle's logits with expected ones."""

from __future__ import annotations

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import open_session

NOISE_LEVEL = 0.05
"""Standard deviation of the samples of `noise_windows`."""


def noise_windows(bundle: Bundle, n: int) -> FloatArray:
    """Return windows of noise [n, samples] with a fixed seed."""
    return np.random.default_rng(1).normal(0, NOISE_LEVEL, (n, bundle.window_samples)).astype(np.float32)


def largest_difference(logits: FloatArray, expected: FloatArray) -> float:
    """Return the maximum difference, relative to the largest expected logit if that exceeds 1."""
    return float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1.0))


def check_parity(bundle: Bundle, windows: FloatArray, expected: FloatArray, *, tolerance: float, source: str) -> None:
    """Check the bundle's logits against the `expected` ones of `source`.

    `tolerance` is of `largest_difference`.

    Raises:
        ModelError: they are not.
    """
    difference = largest_difference(open_session(bundle).run(windows).logits, expected)
    if not difference <= tolerance:
        raise ModelError(
            f"{bundle.info.name}: expected the new graph's logits to differ from those of {source} by at most "
            f"{tolerance:g} of the largest, got {difference:.2g}. The bundle was not written."
        )
