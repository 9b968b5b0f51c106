"""Tables of recordings and of marks: each row is read or named, or the table is refused in words."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawnchorus.data.layouts.annotations import find_marks
from dawnchorus.data.layouts.tables import TableLayout
from dawnchorus.data.marks import match_marks
from dawnchorus.errors import DawnChorusError
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.registry import read_annotations
from dawnchorus.identification.input_tables import read_recordings

MARK_HEADERS = {
    "a.Table.1.selections.txt": "View\tBegin Time (s)\tEnd Time (s)\tSpecies\tReject\tConfidence\tBegin File",
    "a.BirdNET.results.csv": "Start (s),End (s),Scientific name,Common name,Confidence,File",
    "list.csv": "file,start_time,end_time,species,score,sex",
    "a.csv": "label,onset_s,offset_s,verified",
    "liste.csv": "Datei;Art;Beginn;Dauer;Bemerkung",
    "one-hot.csv": "file,start_time,end_time,Avis una,Avis altera",
    "a.txt": "0\t1\tAvis una",
}
RECORDINGS = "filename;species;date;time;latitude;longitude;license;split;xc_id"
LOCATIONS = "path,date,time,latitude,longitude,week"

numbers = st.sampled_from(["0", "1", "2.5", "1,5", "0:01.5", "-1", "99", "nan", "1e9", "0.83"])
words = st.sampled_from(
    ["a.wav", "b.wav", "gone.wav", "Avis una", "?", "nocall", "none", "yes", "no", "x", "Ärger", "1"]
)
dates = st.sampled_from(["2024-05-03", "3.5.2024", "0000-00-00", "31/31/2024", "06:30", "48.1", "XC12", "train"])
cells = st.one_of(st.just(""), numbers, words, dates, st.text("aé'\"|;\t, 1.:-", max_size=5))


def lines_of(header: str, rows: Sequence[Sequence[str]], delimiter: str) -> str:
    """Return a table whose cells have neither delimiters nor quotes, and the first cell of each row a value."""
    clean = [[cell.replace(delimiter, " ").replace('"', " ") for cell in row] for row in rows]
    return "\n".join(
        [header, *(delimiter.join(["x" if not any(map(str.strip, row)) else row[0], *row[1:]]) for row in clean)]
    )


def table_of(header: str, data: st.DataObject) -> tuple[str, int]:
    """Return a table with rows of any cells, some with too many, and the number of its rows."""
    delimiter = next(sign for sign in "\t;," if sign in header)
    n = header.count(delimiter) + 1
    rows = data.draw(st.lists(st.lists(cells, min_size=n, max_size=n + 1), max_size=6))
    return lines_of(header, rows, delimiter) + "\n", len(rows)


@pytest.mark.parametrize("name", MARK_HEADERS)
@given(data=st.data())
@settings(max_examples=20)
def test_every_row_of_marks_is_kept_or_named(name: str, data: st.DataObject) -> None:
    text, n_rows = table_of(MARK_HEADERS[name], data)
    with tempfile.TemporaryDirectory() as folder:
        path, files = Path(folder, name), [Path(folder, "a.wav"), Path(folder, "b.wav")]
        path.write_text(text)
        try:
            rows = read_annotations(path, MarkNotes())
            table = find_marks(Path(folder), Path(folder), files, read_annotations, with_model_output=True)
        except DawnChorusError as error:
            assert str(path) in str(error)  # noqa: PT017
            return
    n_heads = int(name == "a.txt")  # the only one without a header
    assert len({mark.line for mark in rows}) == n_rows + n_heads
    assert len(table.marks) == len(rows) or table.unused
    matched = match_marks(table, dict.fromkeys(files, 10.0), files)
    kept = {"cut", "reversed", "moment", "unnamed", "unverified"}
    assert matched.n_kept + sum(len(of) for outcome, of in matched.outcomes.items() if outcome not in kept) == len(
        table.marks
    )


@given(data=st.data())
@settings(max_examples=20)
def test_every_row_of_recordings_is_read_or_counted(data: st.DataObject) -> None:
    text, n_rows = table_of(RECORDINGS, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.csv")
        path.write_text(text)
        try:
            layout = TableLayout.of(path, {})
            rows = list(layout.rows())
        except DawnChorusError as error:
            assert str(path) in str(error)  # noqa: PT017
            return
        assert len(rows) + len(layout.table.long_rows) == n_rows
        assert not layout.table.long_rows or any(
            "more cells than the header" in sentence for sentence in layout.table.notes.sentences()
        )


@given(data=st.data())
@settings(max_examples=20)
def test_every_location_of_a_recording_is_read_or_refused(data: st.DataObject) -> None:
    text, n_rows = table_of(LOCATIONS, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "locations.csv")
        path.write_text(text)
        try:
            table = read_recordings(path).values
        except DawnChorusError as error:
            assert str(path) in str(error)  # noqa: PT017
            return
        names = {line.partition(",")[0].strip() for line in text.splitlines()[1:]}
        assert len(table) <= len(names) <= n_rows


@pytest.mark.parametrize("name", [*MARK_HEADERS, "a.wav.data", "mine.csv"])
@given(content=st.one_of(st.binary(max_size=80), st.text(max_size=40).map(str.encode)), head=st.booleans())
@settings(max_examples=20)
def test_any_bytes_are_marks_and_recordings_or_are_refused(name: str, content: bytes, head: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(f"{MARK_HEADERS.get(name, RECORDINGS)}\n".encode() * head + content)
        for read in (read_annotations, lambda table: list(TableLayout.of(table, {}).rows())):
            try:
                read(path)
            except DawnChorusError as error:
                assert str(path) in str(error)  # noqa: PT017
