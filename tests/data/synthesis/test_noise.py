"""Synthetic noise."""

from __future__ import annotations

import numpy as np

from dawnchorus.data.synthesis.noise import make_noise


def test_noise_of_every_kind_is_within_full_scale_and_of_drawn_level() -> None:
    rng = np.random.default_rng(1)
    for n_samples, rate_hz in ((4_001, 4_000), (1_000, 96_000)):
        noises = np.stack([make_noise(n_samples, rate_hz=rate_hz, rng=rng) for _ in range(40)])
        assert np.isfinite(noises).all()
        assert np.abs(noises).max() <= 1
        levels_db = 20 * np.log10(np.sqrt((noises.astype(float) ** 2).mean(1)))
        assert levels_db.min() < -50
        assert levels_db.max() > -25
    first, again = (make_noise(100, rate_hz=8_000, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
