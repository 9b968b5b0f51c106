"""Window maths: every sample that the stated rule covers is in a window, in order, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.errors import InputError


def cut(samples: np.ndarray, plan: WindowPlan, block: int, batch: int = 8) -> np.ndarray:
    windower = Windower(plan, batch=batch)
    parts = []
    for start in range(0, len(samples), block):
        parts += windower.push(samples[start : start + block])
    rest = windower.finish()
    parts += [] if rest is None else [rest]
    return np.concatenate(parts) if parts else np.empty((0, plan.n_window), np.float32)


@given(
    n=st.integers(1, 400),
    n_window=st.integers(1, 40),
    hop_part=st.integers(0, 39),
    block=st.integers(1, 97),
    batch=st.integers(1, 9),
)
def test_windows_do_not_depend_on_how_the_sound_arrives(
    n: int, n_window: int, hop_part: int, block: int, batch: int
) -> None:
    plan = WindowPlan(rate_hz=100, n_window=n_window, n_hop=max(n_window - hop_part, 1))
    samples = np.arange(1, n + 1, dtype=np.float32)
    windows = cut(samples, plan, block, batch)
    assert windows.shape == (plan.count(n), n_window)
    padded = np.concatenate([samples, np.zeros(n_window, np.float32)])
    for index, window in enumerate(windows):
        start = index * plan.n_hop
        np.testing.assert_array_equal(window, padded[start : start + n_window])


def test_a_short_tail_is_left_out_and_a_longer_one_is_filled_with_zeros() -> None:
    plan = WindowPlan.from_seconds(rate_hz=100, window_s=1.0)
    assert plan.count(224) == 2
    assert plan.count(225) == 3
    last = cut(np.ones(225, np.float32), plan, 50)[-1]
    assert last[:25].tolist() == [1.0] * 25
    assert not last[25:].any()


def test_a_recording_shorter_than_a_window_is_one_window() -> None:
    plan = WindowPlan.from_seconds(rate_hz=100, window_s=1.0)
    assert plan.count(1) == 1
    assert plan.count(0) == 0


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 3.0])
def test_an_impossible_overlap_is_refused(overlap: float) -> None:
    with pytest.raises(InputError, match="overlap"):
        WindowPlan.from_seconds(rate_hz=100, window_s=1.0, overlap_s=overlap)
