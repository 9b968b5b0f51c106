"""Arrays of samples from users."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.arrays import as_frames
from dawnchorus.errors import InputError

NOISE = np.random.default_rng(1).standard_normal(1000).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "scale"),
    [
        (np.round(NOISE * 3000), 32768),
        (np.round(NOISE * 3), 32768),
        (NOISE * 3000, 32768),
        (NOISE.astype(np.float64) * 1e6, 1 << 23),
        (NOISE * 5e8, 1 << 31),
    ],
    ids=["int16", "quiet int16", "resampled int16", "int24", "int32"],
)
def test_floats_with_the_scale_of_integers_are_refused_with_what_to_do(samples: np.ndarray, scale: int) -> None:
    with pytest.raises(InputError, match=rf"samples: expected -1 to 1, but .* Divide them by .* \({scale} of "):
        as_frames(samples)


@pytest.mark.parametrize(
    "samples",
    [NOISE, NOISE * 20, np.sign(NOISE), np.zeros(10)],
    ids=["song", "32-bit float recorder", "square", "none"],
)
def test_peaks_above_full_scale_are_taken_as_they_are(samples: np.ndarray) -> None:
    np.testing.assert_array_equal(as_frames(samples)[:, 0], samples)
