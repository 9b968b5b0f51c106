"""Kaleidoscope's csv."""

from __future__ import annotations

import csv
import io

from tests.fixtures.detection_tables import written

from dawnchorus.formats import kaleidoscope


def test_kaleidoscope_has_its_columns() -> None:
    rows = list(csv.DictReader(io.StringIO(written("kaleidoscope").decode())))
    assert tuple(rows[0]) == kaleidoscope.COLUMNS
    assert (rows[0]["INDIR"], rows[0]["FOLDER"], rows[0]["IN FILE"]) == ("/data", "site 1", "SITE_20260501_043000.wav")
    assert rows[0]["TOP1DIST"] == "0.1235"


def test_kaleidoscope_rows_have_a_length_and_a_distance() -> None:
    rows = [line.split(",") for line in written("kaleidoscope").decode().splitlines()]
    assert rows[2] == ["/data", "site 1", "SITE_20260501_043000.wav", "1.5", "3.0", '"Cuckoo', ' Common"', "0.1235"]
    assert len(rows) == 4
