"""Tables as spreadsheets, editors and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.tables import rows, table

from dawnchorus.errors import FormatError
from dawnchorus.tables import Table

TEXT = "path,species,recordist\na.wav,Parus major,Jörg Müller\nb.wav,Turdus merula,Zoë\n"

ROWS = [["a.wav", "Parus major", "Jörg Müller"], ["b.wav", "Turdus merula", "Zoë"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encoding_delimiter_and_line_ends_are_detected(tmp_path: Path, encoding: str, delimiter: str, end: str) -> None:
    parsed = table(tmp_path, TEXT.replace(",", delimiter).replace("\n", end).encode(encoding))
    assert (parsed.delimiter, parsed.header, rows(parsed)) == (delimiter, ["path", "species", "recordist"], ROWS)
    assert [note[:12] for note in parsed.notes.sentences()] == (["not in UTF-8"] if encoding == "cp1252" else [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04abc", "a spreadsheet or archive .*Save it as CSV"),
        (b"\xd0\xcf\x11\xe0abc", "a spreadsheet"),
        (bytes(range(256)), "expected text, found the control character"),
        ("\ufeffab".encode("utf-16-le") + b"\x00\xd8", "expected text in UTF-16-LE"),
        (b"", "an empty file"),
        (b"\n,,,\n", "an empty file"),
        (b"path,species,lat,lon\na.wav,Parus major,52,5,13,4\n", "line 2.*put values that have the delimiter"),
    ],
)
def test_what_is_no_table_is_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        list(table(tmp_path, content))


@pytest.mark.parametrize("name", ["mine.xlsx", "mine.XLS", "mine.ods"])
def test_spreadsheets_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=r"found a spreadsheet\. Save it as CSV"):
        Table(tmp_path / name)


def test_decimal_commas_are_no_delimiter(tmp_path: Path) -> None:
    parsed = table(tmp_path, "A;B;C;D\n1,1;2,2;3,3;4,1\n1,1;2,2;3,3;4,1\n")
    assert (parsed.delimiter, len(parsed.header), len(rows(parsed))) == (";", 4, 2)


def test_semicolons_in_a_list_are_no_delimiter(tmp_path: Path) -> None:
    assert rows(table(tmp_path, "path,others\na.wav,Parus major;Turdus merula\n")) == [
        ["a.wav", "Parus major;Turdus merula"]
    ]


@pytest.mark.parametrize("first", ["sep=|", "SEP=|\r", '"sep=|"'])
def test_the_line_that_tells_excel_the_delimiter(tmp_path: Path, first: str) -> None:
    parsed = table(tmp_path, f"{first}\npath|x,y,z\na.wav|1\n")
    assert (parsed.delimiter, list(parsed)) == ("|", [(3, ["a.wav", "1"])])


def test_titles_remarks_and_repeated_headers_are_left_out_and_said(tmp_path: Path) -> None:
    parsed = table(tmp_path, "Pond in 2024;;\n;;\nA ;b;c\n# off;;\n1;2;3\nA;b;c\n4;5;6\n")
    assert (parsed.header, list(parsed)) == (["A", "b", "c"], [(5, ["1", "2", "3"]), (7, ["4", "5", "6"])])
    header, remarks = parsed.notes.sentences()
    assert header == "1 row with the header once more, left out."
    assert remarks == "2 rows with a remark alone, left out (line 1: 'Pond in 2024')."


def test_rows_with_too_many_cells_are_said_and_short_ones_filled(tmp_path: Path) -> None:
    parsed = table(tmp_path, "path,species\na.wav\nb.wav,x,\nc.wav,x,y\nd.wav,1,2\n")
    assert rows(parsed) == [["a.wav", ""], ["b.wav", "x"]]
    assert parsed.notes.sentences() == [
        "2 rows with more cells than the header's 2, left out (line 4, 5): put values that have the delimiter ',' in "
        "quotes."
    ]


def test_quotes_that_do_not_close_cost_no_rows(tmp_path: Path) -> None:
    parsed = table(tmp_path, 'path,note\na.wav,"5 inch\nb.wav,"x, y"\nc.wav,z\n')
    assert rows(parsed) == [["a.wav", "5 inch"], ["b.wav", "x, y"], ["c.wav", "z"]]
    assert parsed.notes.sentences() == [
        "line 2: a quote does not close before the delimiter: each line is read as a row."
    ]
    assert list(table(tmp_path, 'path,note\na.wav,"two\nlines"\nb.wav,z\n')) == [
        (2, ["a.wav", "two\nlines"]),
        (4, ["b.wav", "z"]),
    ]


def test_texts_that_are_kept_by_a_formula(tmp_path: Path) -> None:
    assert rows(table(tmp_path, 'id,path\n="00123","=""a.wav"""\n')) == [["00123", "a.wav"]]


def test_names_of_rows_as_r_writes_them(tmp_path: Path) -> None:
    assert rows(table(tmp_path, '"path","species"\n"1","a.wav","x"\n"2","b.wav","y"\n')) == [
        ["a.wav", "x"],
        ["b.wav", "y"],
    ]
    assert rows(table(tmp_path, '"path" "species"\n"1" "a.wav" "Parus major"\n')) == [["a.wav", "Parus major"]]


def test_errors_of_a_spreadsheet_are_empty_cells_and_said(tmp_path: Path) -> None:
    parsed = table(tmp_path, "path,species,lat\na.wav,#N/A,#NV\nb.wav,#DIV/0!, #BEZUG! \nc.wav,Sp #1,#NAME?\n")
    assert rows(parsed) == [["a.wav", "", ""], ["b.wav", "", ""], ["c.wav", "Sp #1", ""]]
    assert parsed.notes.sentences() == [
        "column 'species': errors of a spreadsheet, read as empty, in 2 rows (line 2: '#N/A').",
        "column 'lat': errors of a spreadsheet, read as empty, in 3 rows (line 2: '#NV').",
    ]
