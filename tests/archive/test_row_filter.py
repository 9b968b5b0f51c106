"""Spans of recordings on one axis."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.archive.row_filter import Spans, shift_clock

TIMES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(1, 9)).map(
        lambda each: (each[0], each[1], sum(each[1:]))
    ),
    max_size=12,
)


@given(spans=TIMES, windows=TIMES)
def test_windows_overlap_spans_of_their_recording_only(
    spans: list[tuple[int, int, int]], windows: list[tuple[int, int, int]]
) -> None:
    numbers, starts_s, ends_s = np.array(spans, float).reshape(-1, 3).T
    made = Spans.create(numbers.astype(int), starts_s, ends_s, longest_s=60.0)
    expected = [
        any(other == number and a < end and b > start for other, a, b in spans) for number, start, end in windows
    ]
    numbers, starts_s, ends_s = np.array(windows, float).reshape(-1, 3).T
    assert made.overlap(numbers.astype(int), starts_s, ends_s).tolist() == expected


def test_windows_that_touch_do_not_overlap() -> None:
    made = Spans.create(np.array([0]), np.array([3.0]), np.array([6.0000001]), longest_s=10.0)
    one = np.array([0])
    assert not made.overlap(one, np.array([6.0]), np.array([9.0]))[0]
    assert not made.overlap(one, np.array([0.0]), np.array([3.0000001]))[0]


def test_clocks_keep_their_zone() -> None:
    assert shift_clock("2026-05-01T23:59:59.000+02:00", 1.5) == "2026-05-02T00:00:00.500+02:00"
    assert shift_clock(None, 1.5) is None
