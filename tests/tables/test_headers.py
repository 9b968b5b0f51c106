"""Names of columns."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.tables import table


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
