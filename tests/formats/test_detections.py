"""Detections as data frames and other libraries' objects."""

from __future__ import annotations

import crowsetta
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.fixtures.detections import MADE, METADATA

from dawnchorus.errors import FormatError, InputError, MissingExtraError
from dawnchorus.formats import exports
from dawnchorus.formats.detections import Detections
from dawnchorus.types import Detection, RecordingTable


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
