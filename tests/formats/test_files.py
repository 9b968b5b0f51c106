"""Detections in and out of files, data frames and other libraries' objects."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import crowsetta
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dawnchorus.errors import FormatError, InputError, MissingExtraError
from dawnchorus.formats import exports
from dawnchorus.formats.detections import Detections
from dawnchorus.formats.files import read_detections, write_detections
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

TIT = Detection(0.0, 3.0, "Parus major", "Great Tit", "species", 0.875)
CUCKOO = Detection(0.0, 3.0, "Cuculus canorus", "Common Cuckoo", "species", 0.5)
LATER = Detection(3.0, 6.0, "Parus major", "Great Tit", "species", 0.25)
METADATA = RecordingMetadata(datetime(2026, 5, 1, 4, 30), 52.5, 13.4)
MADE = Detections(
    (
        RecordingTable("/data/a.wav", 6.0, 48_000, METADATA, 17, (TIT, CUCKOO, LATER)),
        RecordingTable("/data/b.wav", 6.0, 48_000, RecordingMetadata(), None, (LATER,)),
    ),
    Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus", {"min_score": 0.25}),
)


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


def test_labels_without_a_recording_are_those_of_the_file_they_are_named_after(tmp_path: Path) -> None:
    (tmp_path / "dawn.labels.txt").write_text("0\t3\tGreat Tit;0.9\n")
    (table,) = read_detections(tmp_path / "dawn.labels.txt")
    assert table.recording == "dawn"
    (table,) = read_detections(tmp_path / "dawn.labels.txt", recording="dawn.wav")
    assert table.recording == "dawn.wav"


def test_annotations_in_lists_of_other_programs_are_read_by_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "rois.csv").write_text("filename,min_t,max_t,min_f,max_f,label\na.wav,0.5,1.5,2000,4000,Parus major\n")
    (table,) = read_detections(tmp_path / "rois.csv")
    (detection,) = table.detections
    assert (detection.start_s, detection.end_s, detection.low_hz, detection.high_hz) == (0.5, 1.5, 2000, 4000)


def test_frames_of_arrow_pandas_and_polars_have_a_row_for_each_detection() -> None:
    table = MADE.to_arrow()
    assert table["score"].to_pylist() == [0.875, 0.5, 0.25, 0.25]
    assert pa.table(MADE).equals(table)
    assert pl.DataFrame(MADE)["score"].to_list() == table["score"].to_pylist()
    assert MADE.to_polars()["start_time"].to_list()[2] == "2026-05-01T04:30:03.000"
    frame = MADE.to_pandas()
    assert frame["recording"].tolist() == ["/data/a.wav"] * 3 + ["/data/b.wav"]
    assert [table.detections for table in Detections.from_pandas(frame)] == [table.detections for table in MADE]


def test_frames_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dawnchorus\[dataframes\]'"):
        MADE.to_pandas()


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


def test_frames_of_birdnet_and_maad_are_read() -> None:
    birdnet = pd.DataFrame(
        {
            "input": ["a.wav"],
            "start_time": np.float32([3]),
            "end_time": np.float32([6]),
            "species_name": ["Parus major_Great Tit"],
            "confidence": np.float16([0.5]),
        }
    )
    ((detection,),) = (table.detections for table in Detections.from_pandas(birdnet))
    assert detection == Detection(3.0, 6.0, "Parus major", "Great Tit", "species", 0.5)
    rois = pd.DataFrame({"label": ["call"], "min_t": [0.5], "max_t": [1.5], "min_f": [2000.0], "max_f": [np.nan]})
    (table,) = Detections.from_pandas(rois, recording="a.wav")
    assert (table.recording, table.detections[0].low_hz, table.detections[0].high_hz) == ("a.wav", 2000.0, None)
    with pytest.raises(FormatError, match=r"expected columns for recording.*got label, min_t"):
        Detections.from_pandas(rois)


def test_annotations_of_crowsetta_are_read() -> None:
    sequence = crowsetta.Sequence.from_keyword(
        labels=np.array(["Parus major"]), onsets_s=np.array([0.5]), offsets_s=np.array([1.5])
    )
    box = crowsetta.BBox(label="Cuculus canorus", onset=3.0, offset=4.0, low_freq=500.0, high_freq=750.0)
    annotations = [
        crowsetta.Annotation(annot_path="a.csv", notated_path="a.wav", seq=sequence),
        crowsetta.Annotation(annot_path="b.txt", notated_path="b.wav", bboxes=[box]),
    ]
    first, second = Detections.from_crowsetta(annotations)
    assert (first.recording, first.detections[0].scientific_name, first.duration_s) == ("a.wav", "Parus major", 1.5)
    assert (second.detections[0].low_hz, second.detections[0].high_hz) == (500.0, 750.0)
    with pytest.raises(InputError, match="notated_path"):
        Detections.from_crowsetta([crowsetta.Annotation(annot_path="a.csv", seq=sequence)])


def test_a_summary_counts_detections_and_recordings_also_in_notebooks() -> None:
    summary = MADE.summary()
    assert (summary.n_recordings, summary.n_detections) == (2, 4)
    assert summary.species[0] == exports.SpeciesSummary("Parus major", "Great Tit", "species", 3, 2, 0.875)
    assert str(summary).splitlines()[1].split() == ["3", "Great", "Tit"]
    odd = Detections([RecordingTable("a", 3.0, 1, METADATA, None, (Detection(0, 3, "A b", "<b>", "species", 1.0),))])
    assert "&lt;b&gt;" in odd._repr_html_()
    assert repr(odd) == "<Detections: 1 recordings, 1 detections, 1 classes>"
