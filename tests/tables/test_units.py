"""Units in names of columns."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.tables import rows, table


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
