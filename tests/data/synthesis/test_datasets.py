"""Data sets of invented species."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.data.synthesis.datasets import SyntheticPlan, synthetic_recordings
from dawnchorus.errors import InputError

PLAN = SyntheticPlan(n_species=2, n_clips=2, n_soundscapes=1, soundscape_s=6)


def test_same_seed_makes_the_same_audio() -> None:
    first, again = (list(synthetic_recordings(PLAN, seed=4)) for _ in range(2))
    other = list(synthetic_recordings(PLAN, seed=5))
    assert [path for path, _ in first] == [path for path, _ in again]
    for (_, a), (_, b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)
        assert a.events == b.events
    assert any(not np.array_equal(a.samples, b.samples) for (_, a), (_, b) in zip(first, other, strict=True))


def test_a_plan_out_of_bounds_is_refused() -> None:
    with pytest.raises(InputError, match="n_species: expected 1 to 500, got 0"):
        SyntheticPlan(n_species=0)
