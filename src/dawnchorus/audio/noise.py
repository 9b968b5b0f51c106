"""Noise reduction by spectral gating, with the library noisereduce."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import MissingExtraError

NoiseKind = Literal["stationary", "nonstationary"]


def reduce_noise(samples: FloatArray, *, rate_hz: int, kind: NoiseKind) -> FloatArray:
    """Return mono samples [n] with less noise.

    `kind` is "stationary" for noise that is the same throughout, "nonstationary" for noise that changes slowly.
    Silence is returned unchanged.

    Raises:
        MissingExtraError: noisereduce is not installed.
    """
    try:
        import noisereduce
    except ImportError:
        raise MissingExtraError("noisereduce", extra="data", purpose="Noise reduction") from None
    if not np.any(samples):
        return samples  # there is nothing to gate, and the library would divide by it
    reduced: FloatArray = noisereduce.reduce_noise(y=samples, sr=rate_hz, stationary=kind == "stationary")
    return reduced.astype(np.float32, copy=False)
