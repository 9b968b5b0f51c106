"""Tables as spreadsheets, editors and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import FormatError
from dawnchorus.tables import Table

TEXT = "path,species,recordist\na.wav,Parus major,Jörg Müller\nb.wav,Turdus merula,Zoë\n"
ROWS = [["a.wav", "Parus major", "Jörg Müller"], ["b.wav", "Turdus merula", "Zoë"]]


def table(folder: Path, content: str | bytes) -> Table:
    path = folder / "mine.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Table(path)


def rows(table: Table) -> list[list[str]]:
    return [cells for _line, cells in table]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encoding_delimiter_and_line_ends_are_detected(tmp_path: Path, encoding: str, delimiter: str, end: str) -> None:
    parsed = table(tmp_path, TEXT.replace(",", delimiter).replace("\n", end).encode(encoding))
    assert (parsed.delimiter, parsed.header, rows(parsed)) == (delimiter, ["path", "species", "recordist"], ROWS)
    assert [note[:12] for note in parsed.notes.sentences()] == (["not in UTF-8"] if encoding == "cp1252" else [])


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1250", "Łódź, żółw"), ("cp1251", "Синиця велика"), ("cp1253", "είδος αρχείο Καλόγερος"),
     ("cp1250", "Sýkora koňadra, Žluva hajní"), ("cp932", "シジュウカラ"), ("gb18030", "大山雀"), ("big5", "大山雀")],
)  # fmt: skip
def test_code_pages_are_detected_by_their_letters_and_reported(tmp_path: Path, encoding: str, name: str) -> None:
    parsed = table(tmp_path, f"path;name\na.wav;{name}\n".encode(encoding))
    assert rows(parsed) == [["a.wav", name]]
    assert encoding in parsed.notes.sentences()[0]


def test_lines_in_utf8_and_in_a_code_page_in_one_file(tmp_path: Path) -> None:
    parsed = table(tmp_path, "path,rec\na.wav,Jörg\n".encode() + "b.wav,Jörg\n".encode("cp1252"))
    assert rows(parsed) == [["a.wav", "Jörg"], ["b.wav", "Jörg"]]
    assert "1 of 3 lines read as code page cp1252 (as 'Jörg')" in parsed.notes.sentences()[0]


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


def test_columns_are_found_however_they_are_spelt(tmp_path: Path) -> None:
    parsed = table(tmp_path, " Scientific_Name ,LATITUDE (°),begin time (s),fileName\nx,1,2,a.wav\n")
    assert [
        parsed.find_column([name]) for name in ("scientific name", "latitude", "Begin Time (s)", "file_name", "lon")
    ] == [
        0,
        1,
        2,
        3,
        None,
    ]


def test_doubled_names_are_said_where_they_differ(tmp_path: Path) -> None:
    parsed = table(tmp_path, "path,species,Species\na.wav,Turdus,Parus\nb.wav,x,x\n")
    assert (parsed.find_column(["species"]), len(parsed.notes.sentences())) == (1, 1)
    assert "differ in 1 row (line 2: 'Turdus' and 'Parus'); the first is read" in parsed.notes.sentences()[0]
    filled = table(tmp_path, "path,species,species\na.wav,,Parus\n")
    assert (filled.find_column(["species"]), filled.notes.sentences()) == (2, [])


def test_errors_of_a_spreadsheet_are_empty_cells_and_said(tmp_path: Path) -> None:
    parsed = table(tmp_path, "path,species,lat\na.wav,#N/A,#NV\nb.wav,#DIV/0!, #BEZUG! \nc.wav,Sp #1,#NAME?\n")
    assert rows(parsed) == [["a.wav", "", ""], ["b.wav", "", ""], ["c.wav", "Sp #1", ""]]
    assert parsed.notes.sentences() == [
        "column 'species': errors of a spreadsheet, read as empty, in 2 rows (line 2: '#N/A').",
        "column 'lat': errors of a spreadsheet, read as empty, in 3 rows (line 2: '#NV').",
    ]


@pytest.mark.parametrize(
    ("name", "cell", "expected"),
    [
        ("latitude (S)", "33.9", "33.9 S"), ("latitude (S)", "-33.9", "-33.9"), ("latitude (S)", "33.9 N", "33.9 N"),
        ("lat (decimal degrees S)", "33.9", "33.9 S"), ("Breite (S)", "33,9", "33,9 S"), ("Laenge (W)", "70", "70 W"),
        ("lat (rad)", "0.9", "0.9 rad"), ("lat (°)", "52.5", "52.5"), ("lat (WGS84)", "52.5", "52.5"),
        ("Time (UTC)", "06:00", "06:00 UTC"), ("Uhrzeit (UTC+2)", "6:00", "6:00 UTC+2"),
        ("Time [local]", "6:00", "6:00"),
        ("timestamp (UTC)", "2024-05-01 06:00:00", "2024-05-01 06:00:00 UTC"), ("Time (UTC)", "06:00Z", "06:00Z"),
        ("Time (12h PM)", "6:00", "6:00 pm"), ("Time (AM/PM)", "6:00", "6:00"),
        ("Date (UTC)", "2024-05-01", "2024-05-01"),
        ("start_time (s)", "12", "12"), ("elevation (m)", "12", "12"),
    ],
)  # fmt: skip
def test_header_units_stand_behind_their_cells(tmp_path: Path, name: str, cell: str, expected: str) -> None:
    units = table(tmp_path, f"path;{name}\na.wav;{cell}\n")
    assert rows(units) == [["a.wav", expected]]
    assert units.notes.sentences() == []


@pytest.mark.parametrize("name", ["Time [MDT]", "latitude (magnetic)", "Uhrzeit (MESZ)"])
def test_unknown_header_units_are_noted(tmp_path: Path, name: str) -> None:
    units = table(tmp_path, f"path,{name}\na.wav,6:00\n")
    assert rows(units) == [["a.wav", "6:00"]]
    assert "is not understood and not applied" in units.notes.sentences()[0]


@pytest.mark.parametrize(
    ("name", "expected", "n_notes"),
    [("Date (mm/dd/yyyy)", "2024-05-04", 0), ("Datum (TT/MM/JJJJ)", "2024-04-05", 0),
     ("Date (jj/mm/aaaa)", "2024-04-05", 0)],
)  # fmt: skip
def test_date_order_is_read_from_the_header(tmp_path: Path, name: str, expected: str, n_notes: int) -> None:
    dated = table(tmp_path, f"path,{name}\na.wav,05/04/2024\n")
    stamp = dated.dates(1).read("05/04/2024")
    assert stamp is not None
    assert (stamp.date, len(dated.notes.sentences())) == (expected, n_notes)


def test_dates_that_contradict_the_header_are_noted(tmp_path: Path) -> None:
    dated = table(tmp_path, "path,Date (mm/dd/yyyy)\na.wav,25/04/2024\n")
    dated.dates(1)
    assert "not all written as its name says" in dated.notes.sentences()[0]
