"""One notion of what is in a recording: present, absent, or not known."""

from __future__ import annotations

from typing import Any

import pytest

from dawnchorus.data.presence import Presence, Secondary, is_without_birds
from dawnchorus.data.recordings import Annotation, RecordingRow

CLASSES = ("A a", "B b", "C c")


def row(**fields: Any) -> RecordingRow:
    return RecordingRow(recording_id="r", path="r.wav", **fields)


def mark(start_s: float, end_s: float, name: str) -> Annotation:
    return Annotation(start_s=start_s, end_s=end_s, scientific_name=name)


OF_ONE = row(scientific_name="A a", secondary=("B b", "Z z"))
MARKED = row(annotations=(mark(0, 1, "A a"), mark(2.9, 8, "B b"), mark(10, 10, "C c")), secondary=("C c",))
SOMETHING = row(annotations=(mark(0, 1, "A a"), mark(0.5, 2, "")))


@pytest.mark.parametrize(
    ("what", "start_s", "secondary", "expected"),
    [
        (OF_ONE, 0, "count", "++-"),
        (OF_ONE, 0, "mask", "+?-"),
        (row(scientific_name="A a", secondary=("A a",)), 0, "mask", "+--"),
        (row(kind="background"), 0, "count", "---"),
        (row(kind="background", absent=("B b",)), 0, "count", "?-?"),
        (row(is_annotated=True), 0, "count", "---"),
        (row(kind="soundscape"), 0, "count", "???"),
        (row(kind="soundscape", secondary=("B b",)), 0, "count", "?+?"),
        (MARKED, 0, "count", "+?-"),  # 0.1 s of B are in the window: it may be heard or not
        (MARKED, 3, "count", "-+-"),
        (MARKED, 9, "count", "--+"),  # a moment
        (MARKED, 12, "count", "---"),
        (SOMETHING, 0, "count", "+??"),
        (SOMETHING, 3, "count", "---"),
        (row(annotations=(mark(2.9, 3.0, "A a"),)), 0, "count", "+--"),  # shorter than a quarter of a second, but whole
        (row(annotations=(mark(2.8, 3.2, "A a"),)), 0, "count", "+--"),  # half of it, and half of it in the next
        (row(annotations=(mark(2.8, 3.2, "A a"),)), 3, "count", "+--"),
        (row(annotations=(mark(0, 0.1, "A a"), mark(1, 2, "A a"))), 0, "count", "+--"),
    ],
)
def test_what_is_known_of_three_seconds(
    what: RecordingRow, start_s: float, secondary: Secondary, expected: str
) -> None:
    known = Presence(CLASSES, secondary=secondary).between(what, start_s, start_s + 3)
    assert "".join({1: "+", 0: "-", -1: "?"}[value] for value in known.tolist()) == expected


def test_recordings_without_birds_are_background_and_those_in_which_nothing_is_marked() -> None:
    assert is_without_birds(row(kind="background"), 0, 3)
    assert is_without_birds(row(kind="soundscape", is_annotated=True), 0, 3)
    assert not is_without_birds(row(kind="background", annotations=(mark(0, 1, "A a"),)), 0, 3)
    assert not is_without_birds(row(kind="soundscape"), 0, 3)
    assert not is_without_birds(OF_ONE, 0, 3)


def test_time_between_marks_is_without_birds_where_no_mark_is_touched() -> None:
    assert [is_without_birds(MARKED, start_s, start_s + 1) for start_s in (0, 1, 2, 7, 8, 9.5, 11)] == [
        *(False, True, False, False, True, False, True)
    ]
    assert not is_without_birds(SOMETHING, 1.5, 4.5), "a sound of unknown species"
    assert is_without_birds(SOMETHING, 2, 5)
