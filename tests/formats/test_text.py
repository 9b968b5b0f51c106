"""Numbers as text, and tables whose columns have names."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dawnchorus.errors import FormatError
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.text import NamedColumns, score, seconds, text_stream
from dawnchorus.types import Mark


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0"), (3.0, "3.0"), (100.0, "100.0"), (1.5, "1.5"), (1.25, "1.25"), (1.2346, "1.235"), (0.0004, "0.0")],
)
def test_seconds_have_one_to_three_decimals(value: float, text: str) -> None:
    assert seconds(value) == text


def test_scores_have_four_decimals() -> None:
    assert [score(value) for value in (0, 0.5, 0.87654, 1)] == ["0.0000", "0.5000", "0.8765", "1.0000"]


def test_text_stream_is_written_and_left_open() -> None:
    stream = io.BytesIO()
    with text_stream(stream) as text:
        text.write("Grünfink\n")
    assert stream.getvalue() == "Grünfink\n".encode()
    with pytest.raises(ZeroDivisionError), text_stream(stream):
        raise ZeroDivisionError
    assert not stream.closed


def columns(folder: Path, text: str, **more: bool | None) -> NamedColumns:
    (folder / "x.csv").write_text(text)
    return NamedColumns(folder / "x.csv", **more)


def test_rows_have_their_line_numbers_without_blank_ones(tmp_path: Path) -> None:
    rows = columns(tmp_path, " Name ,Score\na,1\n\n , \nb,2\n")
    assert rows.header == ["Name", "Score"]
    assert list(rows) == [(2, ["a", "1"]), (5, ["b", "2"])]


def test_fields_may_be_quoted_by_default(tmp_path: Path) -> None:
    text = '"a",b\n"1,2",3\n'
    assert list(columns(tmp_path, text)) == [(2, ["1,2", "3"])]
    assert list(columns(tmp_path, text, quoted=None)) == [(2, ["1,2", "3"])]
    assert list(columns(tmp_path, 'a,b,c\n"1,2",3\n', quoted=False)) == [(2, ['"1', '2"', "3"])]
    assert list(columns(tmp_path, 'a,b,c\n"1,2",3\n', quoted=None)) == [(2, ['"1', '2"', "3"])]
    assert list(columns(tmp_path, 'a,b\n"1,2",3\n')) == [(2, ["1,2", "3"])]


def test_row_with_more_fields_than_columns_is_named(tmp_path: Path) -> None:
    rows = columns(tmp_path, "a,b\n1,2\n1,2,\n1,2,3\n")
    with pytest.raises(FormatError, match=r"x\.csv: line 4: expected 2 fields as in the header, found more"):
        list(rows)


def test_column_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    rows = columns(tmp_path, "LAT,Longitude\n")
    assert rows.find_column(["latitude", "lat"]) == 0
    assert rows.find_column(["longitude", "LAT"]) == 1
    assert rows.find_column(["time"]) is None
    assert rows.require(["time", "Lat"]) == 0
    with pytest.raises(FormatError, match=r"x\.csv: expected a column 'time' or 'date', found \['LAT', 'Longitude'\]"):
        rows.require(["time", "date"])


def test_empty_file_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"x\.csv: expected a header line, found an empty file"):
        columns(tmp_path, "")


def test_fields_that_are_empty_or_lacking_are_none(tmp_path: Path) -> None:
    rows = columns(tmp_path, "a,b,c,d\n")
    fields = [" x ", " ", "1.5"]
    assert [rows.text(fields, column) for column in (0, 1, 2, 3, 9, None)] == ["x", None, "1.5", None, None, None]
    assert [rows.number_or_none(2, fields, column) for column in (1, 2, 3, 9, None)] == [None, 1.5, None, None, None]
    assert rows.number(2, fields, 2) == 1.5


@pytest.mark.parametrize(("column", "message"), [(0, "'a', found ' x '"), (1, "'b', found ''"), (3, "'d', found 'not")])
def test_field_that_is_no_number_is_named(tmp_path: Path, column: int, message: str) -> None:
    rows = columns(tmp_path, "a,b,c,d\n")
    with pytest.raises(FormatError, match=f"line 7: expected a number in {message}"):
        rows.number(7, [" x ", "", "1.5"], column)


@pytest.mark.parametrize(
    ("name", "cell", "expected_s"),
    [("start (min)", "0.1", 6.0), ("start (ms)", "1500", 1.5), ("start [s]", "2", 2.0),
     ("start (hh:mm:ss)", "0:01:02", 62.0),
     ("start (h)", "0,5", 1800.0), ("start", "3", 3.0)],
)  # fmt: skip
def test_offsets_are_read_in_the_unit_of_the_header(tmp_path: Path, name: str, cell: str, expected_s: float) -> None:
    path = tmp_path / "marks.txt"
    path.write_text(f"{name}\tlabel\n{cell}\tParus major\n")
    columns = NamedColumns(path)
    assert columns.offset_s(2, [cell, "Parus major"], columns.require(["start"])) == pytest.approx(expected_s)


def test_offsets_in_an_unknown_unit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "marks.txt"
    path.write_text("start [samples]\tlabel\n480\tParus major\n")
    columns = NamedColumns(path)
    with pytest.raises(FormatError, match=r"expected seconds \(s\).*'start \[samples\]'"):
        columns.offset_s(2, ["480", "Parus major"], 0)


def test_column_of_another_unit_is_not_advised(tmp_path: Path) -> None:
    path = tmp_path / "marks.txt"
    path.write_text("Begin Time (ms)\tLabel\n480\tParus major\n")
    with pytest.raises(FormatError) as error:
        NamedColumns(path).require(["Begin Time (s)"])
    assert "meant to be" not in str(error.value)


def test_unforeseen_words_do_not_turn_off_a_review(tmp_path: Path) -> None:
    path = tmp_path / "marks.txt"
    path.write_text("start\tValid\n" + "".join(f"1\t{word}\n" for word in ("yes", "no", "maybe", "ok", "")))
    columns, notes = NamedColumns(path), MarkNotes()
    marks = list(columns.marks(lambda line, _fields: Mark(line, None), notes))
    assert [mark.review for mark in marks] == ["", "rejected", "unverified", "unverified", ""]
    assert ["neither yes nor no in 1 row (as 'ok')" in note for note in columns.table.notes.sentences()] == [True]


def test_column_without_yes_and_no_is_no_review(tmp_path: Path) -> None:
    path = tmp_path / "marks.txt"
    path.write_text("start\tchecked\n1\tAnna\n")
    (mark,) = NamedColumns(path).marks(lambda line, _fields: Mark(line, None), MarkNotes())
    assert mark.review == ""
