"""Detections in and out of files, data frames and other libraries' objects."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.detections import CUCKOO, LATER, MADE, METADATA, TIT

from dawnchorus.errors import FormatError, InputError, OutputError
from dawnchorus.formats.detections import Detections
from dawnchorus.formats.files import read_detections, write_detections
from dawnchorus.types import RecordingMetadata, RecordingTable


def test_table_round_trip_keeps_rows_times_locations_and_provenance(tmp_path: Path) -> None:
    write_detections(MADE, tmp_path / "x.parquet")
    read = read_detections(tmp_path / "x.parquet")
    assert [table.detections for table in read] == [table.detections for table in MADE]
    assert [(table.recording, table.metadata, table.week) for table in read] == [
        ("/data/a.wav", METADATA, 17),
        ("/data/b.wav", RecordingMetadata(), None),
    ]
    assert read.provenance == MADE.provenance


@pytest.mark.parametrize("name", ["x.csv", "x.selections.txt", "x.kaleidoscope.csv", "x.birdnet.csv", "x.jsonl"])
def test_the_suffix_chooses_the_format(tmp_path: Path, name: str) -> None:
    write_detections(list(MADE), tmp_path / name)
    read = read_detections(tmp_path / name)
    assert [table.recording for table in read] == ["/data/a.wav", "/data/b.wav"]
    assert [detection.score for detection in read[0].detections] == [0.875, 0.5, 0.25]


def test_a_format_is_named_where_the_suffix_says_something_else(tmp_path: Path) -> None:
    write_detections(MADE, tmp_path / "x.table", format="birdnet")
    assert (tmp_path / "x.table").read_text().splitlines()[:2] == [
        "input,start_time,end_time,species_name,confidence",
        "/data/a.wav,00:00:00.00,00:00:03.00,Parus major_Great Tit,0.875000",
    ]
    assert len(read_detections(tmp_path / "x.table", format="birdnet")) == 2
    with pytest.raises(InputError, match="Did you mean 'birdnet'"):
        read_detections(tmp_path / "x.table", format="birdnt")
    with pytest.raises(InputError, match="no table format has this suffix"):
        write_detections(MADE, tmp_path / "x.table")
    (tmp_path / "x.txt").write_text("hello\n")
    with pytest.raises(FormatError, match="expected a selection table"):
        read_detections(tmp_path / "x.txt")
    with pytest.raises(InputError, match="expected a file with a table of detections, got no such file"):
        read_detections(tmp_path / "none.csv")
    with pytest.raises(InputError, match="got a folder"):
        read_detections(tmp_path)


def test_labels_without_a_recording_are_those_of_the_file_they_are_named_after(tmp_path: Path) -> None:
    (tmp_path / "dawn.labels.txt").write_text("0\t3\tGreat Tit;0.9\n")
    (table,) = read_detections(tmp_path / "dawn.labels.txt")
    assert table.recording == "dawn"
    (table,) = read_detections(tmp_path / "dawn.labels.txt", recording="dawn.wav")
    assert table.recording == "dawn.wav"


def test_wide_scores_of_opensoundscape_come_and_go(tmp_path: Path) -> None:
    import pandas as pd

    wide = MADE.to_opensoundscape()
    assert wide.index.names == ["file", "start_time", "end_time"]
    assert sorted(wide.columns) == ["Cuculus canorus", "Parus major"]
    assert wide.loc[("/data/a.wav", 0.0, 3.0), "Parus major"] == 0.875
    assert np.isnan(wide.loc[("/data/a.wav", 3.0, 6.0), "Cuculus canorus"])
    again = Detections.from_pandas(wide)
    assert {(d.start_s, d.scientific_name, d.score) for d in again[0].detections} == {
        (0.0, "Parus major", 0.875),
        (0.0, "Cuculus canorus", 0.5),
        (3.0, "Parus major", 0.25),
    }
    write_detections(MADE, tmp_path / "x.opensoundscape.csv")
    frame = pd.read_csv(tmp_path / "x.opensoundscape.csv", index_col=[0, 1, 2])
    pd.testing.assert_frame_equal(frame[wide.columns].sort_index(), wide.sort_index(), check_dtype=False)


LIST = "file,start_time,end_time,label,score\na.wav,0,3,Parus major,0.5\na.wav,{},Parus major,{}\n"
RAVEN = (
    "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\tConfidence\n1\t0\t3\tParus major\t0.5\n2\t{}\tParus major\t{}\n"
)
IMPOSSIBLE = {
    "list.csv": (LIST, "3,1", "0.5", "line 3: end_s: expected an end in seconds, 3 "),
    "scores.csv": (LIST, "3,6", "5.5", "line 3: score: expected a score from 0 to 1, got 5.5. Convert logits"),
    "x.selections.txt": (RAVEN, "-2\t1", "0.5", "line 3: start_s: expected a start in seconds, 0 or more, got -2"),
    "x.table.txt": (RAVEN, "3\t6", "-1.5", "line 3: score: expected a score from 0 to 1, got -1.5"),
    "x.labels.txt": ("0\t3\tTit;0.5\n{}\tTit;{}\n", "3\t1", "0.5", "line 2: end_s: expected an end"),
    "x.birdnet.csv": (
        "input,start_time,end_time,species_name,confidence\na.wav,{},Parus major_Great Tit,{}\n",
        *("3,1", "0.5", "line 2: end_s: expected an end"),
    ),
    "x.kaleidoscope.csv": (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST\nx,y,a.wav,{},Tit,{}\n",
        *("3,-1", "0.5", "line 2: end_s: expected an end"),
    ),
    "x.opensoundscape.csv": (
        "file,start_time,end_time,Parus major,snr\na.wav,{},0.5,{}\n",
        *("0,3", "12.5", "line 2: column 'snr': expected a score .* got 12.5.* no column of a class, drop it"),
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_times_and_scores_are_refused_by_line(tmp_path: Path, name: str) -> None:
    text, times, score, message = IMPOSSIBLE[name]
    (tmp_path / name).write_text(text.format(times, score))
    with pytest.raises(FormatError, match=message):
        read_detections(tmp_path / name)


@pytest.mark.parametrize(("name", "where"), [("x.parquet", "row 1 .*, column 'score'"), ("x.jsonl", "line 2: score")])
def test_our_own_tables_may_have_been_changed(tmp_path: Path, name: str, where: str) -> None:
    detections = (TIT, replace(LATER, score=2.0))
    write_detections(RecordingTable("a.wav", 6.0, 1, METADATA, None, detections), tmp_path / name)
    with pytest.raises(FormatError, match=f"{where}: expected a score from 0 to 1, got 2"):
        read_detections(tmp_path / name)


def test_rows_without_a_score_are_annotations_and_a_warning_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.csv").write_text(LIST.format("3,6", ""))
    (table,) = read_detections(tmp_path / "x.csv")
    assert [detection.score for detection in table.detections] == [0.5, 1.0]
    assert "1 of 2 rows have no score, such as line 3" in caplog.text
    caplog.clear()
    (tmp_path / "y.csv").write_text("file,start_time,end_time,label\na.wav,0,3,Parus major\n")
    assert read_detections(tmp_path / "y.csv")[0].detections[0].score == 1.0
    assert not caplog.text, "a table without scores is one of annotations"


def test_data_frames_are_written(tmp_path: Path) -> None:
    frame = MADE.to_pandas()
    write_detections(frame[frame["score"] >= 0.5], tmp_path / "x.parquet")
    (table,) = read_detections(tmp_path / "x.parquet")
    assert (table.detections, table.metadata) == ((TIT, CUCKOO), METADATA)
    with pytest.raises(InputError, match="expected a Run, Detections, a data frame of pandas, .*, got int"):
        write_detections(5, tmp_path / "x.csv")  # type: ignore[arg-type]


def test_locations_are_read_from_columns_in_any_order(tmp_path: Path) -> None:
    frame = MADE.to_polars()
    frame.select(list(reversed(frame.columns))).drop("week").write_parquet(tmp_path / "x.parquet")
    first, _ = read_detections(tmp_path / "x.parquet")
    assert (first.metadata, first.week) == (METADATA, None)


HEADER = "Start (s),End (s),Scientific name,Common name,Confidence\n"
NAMELESS = {
    "x.csv": HEADER + "0,3,#N/A,,0.5\n",
    "list.csv": LIST.format("3,6", "0.5").replace("Parus major,0.5", ",0.5"),
    "x.selections.txt": RAVEN.format("3\t6", "0.5").replace("6\tParus major", "6\t"),
    "x.labels.txt": "0\t3\tTit;0.5\n3\t4\t;0.5\n",
    "x.birdnet.csv": "input,start_time,end_time,species_name,confidence\na.wav,0,3,,0.5\n",
    "x.kaleidoscope.csv": "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST\nx,y,a.wav,0,3,,0.5\n",
}


@pytest.mark.parametrize("name", NAMELESS)
def test_scores_without_a_name_are_refused_by_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(NAMELESS[name])
    with pytest.raises(FormatError, match=r"line [23]: scientific_name: expected the name .* found none"):
        read_detections(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.labels.txt", "0\t3\tTit\n3\t4\t\n3\t4\n"),
        ("x.selections.txt", "Begin Time (s)\tEnd Time (s)\tSpecies\n0\t3\tTit\n3\t4\t\n3\t4\t#N/A\n"),
        ("list.csv", "file,start,end,label\na.wav,0,3,Tit\na.wav,3,4,\na.wav,3,4,#N/A\n"),
    ],
)
def test_marks_of_people_without_a_name_are_left_out_and_a_warning_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    (table,) = read_detections(tmp_path / name)
    assert [detection.scientific_name for detection in table.detections] == ["Tit"]
    assert re.search(r"marks without the name of a species are left out: 2, such as line [23]\.", caplog.text)


def test_folders_of_tables_are_made_and_frames_of_polars_written(tmp_path: Path) -> None:
    detections = Detections(RecordingTable("a.wav", 6.0, 1, METADATA, None, (TIT, LATER)))
    assert Detections(detections).provenance is detections.provenance
    path = tmp_path / "new" / "folder" / "x.csv"
    write_detections(detections.to_polars(), path)
    (table,) = read_detections(path)
    assert [each.scientific_name for each in table.detections] == [each.scientific_name for each in (TIT, LATER)]
    with pytest.raises(OutputError, match="cannot be written"):
        write_detections(detections, path / "x.csv")
