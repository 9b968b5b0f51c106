"""Tables of people: written in any dialect they are read back equal, and any bytes are read or refused in words."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from datetime import date, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.errors import DawnChorusError
from dawnchorus.identification.input_tables import read_recordings, read_species_list, read_thresholds
from dawnchorus.tables import DateColumn, Notes, NumberColumn, Table, TimeColumn, is_blank, parse_latitude

words = st.text(st.sampled_from("abcXYZ 0123,;|'.äöüß-_()°"), max_size=8).map(str.strip)
names = st.lists(st.text(st.sampled_from("abcdexyz"), min_size=1, max_size=6), min_size=2, max_size=5, unique=True)


def read(content: bytes) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.csv")
        path.write_bytes(content)
        return Table(path)


@given(
    header=names,
    data=st.data(),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    says_delimiter=st.booleans(),
)
def test_tables_are_read_as_they_were_written(
    header: list[str], data: st.DataObject, delimiter: str, encoding: str, end: str, quoting: int, says_delimiter: bool
) -> None:
    cells = st.lists(words, min_size=len(header), max_size=len(header))
    rows = data.draw(st.lists(cells.filter(lambda row: any(row) and row != header), max_size=6))
    text = io.StringIO(newline="")
    if says_delimiter:
        text.write(f"sep={delimiter}{end}")
    out = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[call-overload]
    out.writerows([header, *rows])
    table = read(text.getvalue().encode(encoding))
    assert (table.delimiter, table.header) == (delimiter, header)
    assert [row for _line, row in table] == rows
    assert table.notes.sentences() == []


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=80).map(str.encode)), head=st.booleans())
def test_any_bytes_are_read_or_refused_in_words(content: bytes, head: bool) -> None:
    content = b"path,latitude,longitude,date\n" * head + content
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.csv")
        path.write_bytes(content)
        for reader in (lambda table: list(Table(table)), read_recordings, read_thresholds, read_species_list):
            try:
                reader(path)
            except DawnChorusError as error:
                assert str(path) in str(error)  # noqa: PT017


@given(rows=st.lists(st.integers(1, 4), max_size=20))
def test_every_row_is_read_or_named(rows: list[int]) -> None:
    content = "a,b\n" + "".join(",".join(["x"] * n) + "\n" for n in rows)
    try:
        table = read(content.encode())
        n_read = len(list(table))
    except DawnChorusError as error:
        assert f"{len(rows)} row" in str(error)  # noqa: PT017
        return
    assert n_read + len(table.long_rows) == len(rows)
    said = " ".join(table.notes.sentences())
    assert not table.long_rows or said.startswith(f"{len(table.long_rows)} row")


FORMS = (
    "{0:%Y-%m-%d}",
    "{0:%d.%m.%Y}",
    "{0:%Y/%m/%d}",
    "{0:%Y%m%d}",
    "{0.day} {0:%B} {0.year}",
    "{0:%m/%d/%Y}",
    "{0:%d/%m/%Y}",
)


@given(
    days=st.lists(st.dates(date(1960, 1, 1), date(2025, 12, 31)), min_size=1, max_size=30),
    form=st.sampled_from(FORMS),
)
def test_dates_come_back_or_their_order_is_said(days: list[date], form: str) -> None:
    values = [form.format(day) for day in days]
    notes = Notes()
    column = DateColumn("date", values, notes)
    dates_read = [column.read(value) for value in values]
    if not notes.sentences():
        assert [stamp and stamp.date for stamp in dates_read] == [day.isoformat() for day in days]
    else:
        assert all(day.day <= 12 for day in days)
        assert "day and month could change places" in notes.sentences()[0]


@given(days=st.lists(st.integers(20_000, 70_000), min_size=1, max_size=10))
def test_numbers_of_days_come_back(days: list[int]) -> None:
    column = DateColumn("date", map(str, days), Notes())
    dates_read = [column.read(str(day)) for day in days]
    assert [stamp and stamp.date for stamp in dates_read] == [
        (date(1899, 12, 30) + timedelta(days=day)).isoformat() for day in days
    ]


@given(values=st.lists(st.decimals(-90, 90, places=2, allow_nan=False), min_size=1, max_size=20), comma=st.booleans())
def test_numbers_come_back_with_either_decimal_sign(values: list[object], comma: bool) -> None:
    texts = [str(value).replace(".", "," if comma else ".") for value in values]
    notes = Notes()
    column = NumberColumn("x", texts, notes)
    assert [column.read(text) for text in texts] == [float(str(value)) for value in values]
    assert [parse_latitude(text) for text in texts] == [float(str(value)) for value in values]
    assert notes.sentences() == []


@given(texts=st.lists(st.text(max_size=12), max_size=20))
def test_values_are_understood_blank_or_counted(texts: list[str]) -> None:

    for kind in (DateColumn, TimeColumn, NumberColumn):
        notes = Notes()
        column = kind("x", texts, notes)
        unread = [text for text in texts if column.read(text) is None and not is_blank(text)]
        zeros = [text for text in unread if re.fullmatch(r"[0\W]+", text) and kind is DateColumn]
        assert len(unread) - len(zeros) <= notes.n_misread("x") <= len(unread)
