"""Detections in and out of files, data frames and other libraries' objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.fixtures.detections import MADE, METADATA

from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats.detections import Detections
from dawnchorus.formats.files import read_detections, write_detections
from dawnchorus.types import RecordingMetadata


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
