"""Kaleidoscope's csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from tests.fixtures.detection_tables import written

from dawnchorus.errors import FormatError
from dawnchorus.formats import kaleidoscope
from dawnchorus.formats.files import read_detections


def test_kaleidoscope_has_its_columns() -> None:
    rows = list(csv.DictReader(io.StringIO(written("kaleidoscope").decode())))
    assert tuple(rows[0]) == kaleidoscope.COLUMNS
    assert (rows[0]["INDIR"], rows[0]["FOLDER"], rows[0]["IN FILE"]) == ("/data", "site 1", "SITE_20260501_043000.wav")
    assert rows[0]["TOP1DIST"] == "0.1235"


def test_kaleidoscope_rows_have_a_length_and_a_distance() -> None:
    rows = [line.split(",") for line in written("kaleidoscope").decode().splitlines()]
    assert rows[2] == ["/data", "site 1", "SITE_20260501_043000.wav", "1.5", "3.0", '"Cuckoo', ' Common"', "0.1235"]
    assert len(rows) == 4


CLUSTERS = """INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,Fmin,Fmean,Fmax,TOP1MATCH,TOP1DIST,MANUAL ID
/d,n1,a.wav,0,1.5,0.5,2000,3000,4000,Turdus merula,0.25,Parus major
/d,n2,a.wav,1,3.0,1.0,2500,3000,5000,Turdus merula,0.25,
"""


@pytest.mark.parametrize("format_name", [None, "kaleidoscope"])
def test_names_of_people_precede_automatic_ones(tmp_path: Path, format_name: str | None) -> None:
    (tmp_path / "cluster.csv").write_text(CLUSTERS)
    first, second = read_detections(tmp_path / "cluster.csv", format=format_name)
    assert [first.recording, second.recording] == [str(Path("/d/n1/a.wav")), str(Path("/d/n2/a.wav"))]
    (corrected,), (automatic,) = first.detections, second.detections
    assert (corrected.scientific_name, corrected.score, corrected.channel) == ("Parus major", 1.0, 1)
    assert (corrected.start_s, corrected.end_s, corrected.low_hz, corrected.high_hz) == (1.5, 2.0, 2000, 4000)
    assert (automatic.scientific_name, automatic.score, automatic.channel) == ("Turdus merula", 0.75, 2)


def test_marks_that_nobody_named_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "x.csv").write_text("FOLDER,IN FILE,OFFSET,DURATION,MANUAL ID\nn,a.wav,0,1,Parus major\nn,a.wav,2,1,\n")
    (table,) = read_detections(tmp_path / "x.csv")
    assert [each.scientific_name for each in table.detections] == ["Parus major"]
    assert "marks without the name of a species are left out: 1, such as line 3" in caplog.text

    (tmp_path / "x.csv").write_text("FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,MANUAL ID\nn,a.wav,0,1,Tit,Parus major\n")
    assert read_detections(tmp_path / "x.csv")[0].detections[0].scientific_name == "Parus major"
    (tmp_path / "x.csv").write_text("FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,MANUAL ID\nn,a.wav,0,1,Tit,\n")
    with pytest.raises(FormatError, match="expected a column 'TOP1DIST', found"):
        read_detections(tmp_path / "x.csv")


def test_bats_have_frequencies_in_kilohertz(tmp_path: Path) -> None:
    (tmp_path / "id.csv").write_text(
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,AUTO ID,MATCH RATIO,Fmin,Fmax,MANUAL ID\n"
        "/d,,a.wav,0,5,PIPPIP,0.5,45.5,60,\n"
    )
    (table,) = read_detections(tmp_path / "id.csv")
    (bat,) = table.detections
    assert (table.recording, bat.scientific_name, bat.score) == (str(Path("/d/a.wav")), "PIPPIP", 0.5)
    assert (bat.low_hz, bat.high_hz) == (45_500, 60_000)


def test_columns_of_names_that_are_missing_are_listed(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("FOLDER,IN FILE,OFFSET,DURATION\nn,a.wav,0,1\n")
    with pytest.raises(FormatError, match="expected a column 'TOP1MATCH' or 'AUTO ID' or 'MANUAL ID' or .*, found"):
        read_detections(tmp_path / "x.csv", format="kaleidoscope")
    with pytest.raises(FormatError, match="It has 'IN FILE' for recording, .* but no column for start and label"):
        read_detections(tmp_path / "x.csv")


def test_earlier_tables_of_birdnet_analyzer_keep_their_folders(tmp_path: Path) -> None:
    columns = "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat"
    (tmp_path / "x.csv").write_text(f"{columns}\n/d,n1,a.wav,0,3,Parus major,Great Tit,0.75,-1\n")
    (table,) = read_detections(tmp_path / "x.csv")
    (tit,) = table.detections
    assert table.recording == str(Path("/d/n1/a.wav"))
    assert (tit.scientific_name, tit.common_name, tit.score) == ("Parus major", "Great Tit", 0.75)
