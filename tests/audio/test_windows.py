"""Window maths: every sample that the stated rule covers is in a window, in order, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.audio.windows import UnscoredReport, Windower, WindowPlan
from dawnchorus.errors import InputError


def cut(samples: np.ndarray, plan: WindowPlan, block: int, batch: int = 8) -> np.ndarray:
    windower = Windower(plan, batch=batch)
    parts = []
    for start in range(0, len(samples), block):
        parts += windower.push(samples[start : start + block])
    rest = windower.finish()
    parts += [] if rest is None else [rest]
    return np.concatenate(parts) if parts else np.empty((0, plan.window_samples), np.float32)


@given(
    n=st.integers(1, 400),
    window_samples=st.integers(1, 40),
    hop_part=st.integers(0, 39),
    block=st.integers(1, 97),
    batch=st.integers(1, 9),
)
def test_windows_do_not_depend_on_block_sizes(
    n: int, window_samples: int, hop_part: int, block: int, batch: int
) -> None:
    plan = WindowPlan(rate_hz=100, window_samples=window_samples, hop_samples=max(window_samples - hop_part, 1))
    samples = np.arange(1, n + 1, dtype=np.float32)
    windows = cut(samples, plan, block, batch)
    assert windows.shape == (plan.count(n), window_samples)
    padded = np.concatenate([samples, np.zeros(window_samples, np.float32)])
    for index, window in enumerate(windows):
        start = index * plan.hop_samples
        np.testing.assert_array_equal(window, padded[start : start + window_samples])


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


def test_windows_that_overlap_are_counted_with_the_same_tail() -> None:
    plan = WindowPlan.from_seconds(rate_hz=100, window_s=1.0, overlap_s=0.5)
    assert (plan.window_samples, plan.hop_samples, plan.rate_hz) == (100, 50, 100)
    assert [plan.count(n) for n in (-1, 0, 1, 99, 100, 124, 125, 150, 174, 175, 200, 225)] == [
        *(0, 0, 1, 1, 1, 1),
        *(2, 2, 2, 3, 3, 4),
    ]
    assert (plan.window_s, plan.start_s(0), plan.start_s(3)) == (1.0, 0.0, 1.5)


def test_an_overlap_of_all_but_one_sample_is_possible() -> None:
    plan = WindowPlan.from_seconds(rate_hz=100, window_s=1.0, overlap_s=0.99)
    assert (plan.hop_samples, plan.count(103)) == (1, 4)
    assert WindowPlan.from_seconds(rate_hz=48_000, window_s=3.0).hop_samples == 144_000


def test_nothing_remains_after_whole_batches() -> None:
    plan = WindowPlan(rate_hz=100, window_samples=10, hop_samples=10)
    assert Windower(plan, batch=2).finish() is None
    windower = Windower(plan, batch=2)
    (batch,) = windower.push(np.arange(20, dtype=np.float32))
    assert batch.tolist() == [list(range(10)), list(range(10, 20))]
    assert windower.push(np.arange(2, dtype=np.float32)) == []
    assert windower.finish() is None, "a rest below a quarter of a window"


def test_batches_stay_as_they_are_when_more_comes() -> None:
    windower = Windower(WindowPlan(rate_hz=100, window_samples=300, hop_samples=300), batch=1)
    block = np.full(300, 1, np.float32)
    (first,) = windower.push(block)
    block[:] = 2
    (second,) = windower.push(block)
    assert (first == 1).all()
    assert (second == 2).all()


@pytest.mark.parametrize(
    ("overlap_s", "duration_s", "scored_s"),
    [
        (0, 3.5, 3.0),
        (0, 3.75, 3.75),
        (0, 0.2, 0.2),
        (0, 0, 0),
        (0, 60, 60),
        (1.5, 3.5, 3.0),
        (2.5, 3.5, 3.5),
        (1, 6, 6),
    ],
)
def test_seconds_in_windows_and_behind_them(overlap_s: float, duration_s: float, scored_s: float) -> None:
    plan = WindowPlan.from_seconds(rate_hz=100, window_s=3.0, overlap_s=overlap_s)
    assert plan.scored_s(duration_s) == scored_s
    report = UnscoredReport()
    report.add("a.wav", plan, duration_s)
    assert (report.note(plan) is None) == (scored_s == duration_s)
    assert report.note(plan) is None or str(report.note(plan)).startswith("0.50 s at the ends of 1 of 1 recording are")
