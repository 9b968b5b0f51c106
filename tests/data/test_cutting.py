"""Windows cut from recordings."""

from __future__ import annotations

import numpy as np
from tests.fixtures.sounds import tone

from dawnchorus.data.cutting import loudest_starts

RATE_HZ = 16_000


def test_the_loudest_windows_hold_the_calls_and_not_the_wind() -> None:
    rng = np.random.default_rng(1)
    wind = np.cumsum(rng.normal(0, 0.002, 20 * RATE_HZ))
    sound = (wind - wind.mean()).astype(np.float32)
    for at_s in (4, 13):
        sound[at_s * RATE_HZ : (at_s + 1) * RATE_HZ] += tone(4000, seconds=1, level=0.2)
    starts = np.array(sorted(loudest_starts(sound, 2 * RATE_HZ, 2))) / RATE_HZ
    assert 3 <= starts[0] <= 4
    assert 12 <= starts[1] <= 13
