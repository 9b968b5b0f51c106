"""Times of day in the forms that people write."""

from __future__ import annotations

from datetime import time

import pytest

from dawnchorus.tables import Notes, TimeColumn, parse_offset_s, parse_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [("06:00", time(6)), ("6:00", time(6)), ("06:00:30", time(6, 0, 30)), ("0530", time(5, 30)), ("530", time(5, 30)),
     ("5.30", time(5, 30)), ("5.30 Uhr", time(5, 30)), ("5h30", time(5, 30)), ("6:00 AM", time(6)), ("6 pm", time(18)),
     ("12:00 a.m.", time(0)), ("05-30-00", time(5, 30)), ("1899-12-30 06:00:00", time(6)), ("25:00", None),
     ("13 pm", None), ("dawn", None), ("6", None)],
)  # fmt: skip
def test_times_in_many_forms(text: str, expected: time | None) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        (["0.25", "0.229166667"], [time(6), time(5, 30)], "parts of a day (06:00)"),
        (["0.25", "?"], [time(6), None], "parts of a day (06:00)"),
        (["5.45", "5.3"], [time(5, 45), time(5, 30)], ""),
        (["5.45", "early"], [time(5, 45), None], "left out, in 1 row (as 'early'); expected a time of day"),
    ],
)
def test_numbers_in_a_column_of_times(values: list[str], expected: list[time | None], said: str) -> None:
    notes = Notes()
    column = TimeColumn("time", values, notes)
    assert [column.read(value) for value in values] == expected
    assert said in "".join(notes.sentences())


def test_times_within_a_recording() -> None:
    given = {"00:01": 1, "1:02.5": 62.5, "0:01:02": 62, "00:00:48,5": 48.5, "62.5 s": 62.5, "3": 3, "1,5": 1.5}
    assert {text: parse_offset_s(text) for text in given} == given
    assert [parse_offset_s(text) for text in ("1:75", "1:2", "0:75:00", "-1:00", "abc", "nan", "")] == [None] * 7
