"""Detections as data frames and other libraries' objects."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.fixtures.detections import MADE, METADATA

from dawnchorus.errors import FormatError, InputError, MissingExtraError
from dawnchorus.formats import exports
from dawnchorus.formats.detections import Detections
from dawnchorus.formats.files import read_detections, write_detections
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable


def test_frames_of_arrow_pandas_and_polars_have_a_row_for_each_detection() -> None:
    import polars as pl

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
    import pandas as pd

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
    import crowsetta

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


FRAME = {"file": ["a.wav", "a.wav"], "start_time": [0.0, 3.0], "end_time": [3.0, 6.0], "label": ["Parus major"] * 2}
WIDE = {"file": ["a.wav", "a.wav"], "start_time": [0.0, 3.0], "end_time": [3.0, 6.0], "Parus major": [0.5, np.nan]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (FRAME | {"end_time": [3.0, 1.0]}, "row 1 .*, column 'end_time': expected an end in seconds, 3 .*, got 1"),
        (FRAME | {"start_time": [0.0, np.nan]}, "row 1 .*, column 'start_time': expected a start .*, got nan"),
        (FRAME | {"start_time": ["0", "late"]}, "row 1 .*, column 'start_time': expected a number, got 'late'"),
        (FRAME | {"label": ["Parus major", None]}, "row 1 .*, column 'label': expected a name, found none"),
        (FRAME | {"file": [None, "a.wav"]}, "row 0 .*, column 'file': expected a name, found none"),
        (FRAME | {"score": [0.5, 5.0]}, "row 1 .*, column 'score': expected a score from 0 to 1, got 5. Convert log"),
        (FRAME | {"score": [np.nan, 0.5]}, "row 0 .*, column 'score': .*, found none. Fill it in; without a column"),
        (FRAME | {"confidence": [None, 0.5]}, "row 0 .*, column 'confidence': expected a score .*, found none"),
        (WIDE | {"Cuculus canorus": [-4.5, 2.0]}, "row 0 .*, column 'Cuculus canorus': .*, got -4.5. Convert logits"),
        (WIDE | {"temperature": [15, 16]}, "row 0 .*, column 'temperature': .*, got 15. .* no column of a class, drop"),
        (
            WIDE | {"note": ["ok", ""]},
            "row 0 .*, column 'note': expected a number, got 'ok'. If it is no column of a class",
        ),
        (WIDE | {"channel": [1, 1], "score": [0.5, 0.5]}, "names of classes for all columns .*; got channel, score"),
        (WIDE | {0: [0.5, 0.5]}, "names of classes for all columns next to recording, start and end; got 0"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_what_no_detection_can_be_is_refused_by_row_and_column(columns: dict[str, list[object]], message: str) -> None:
    import pandas as pd

    with pytest.raises(FormatError, match=message):
        Detections.from_pandas(pd.DataFrame(columns))


def test_frames_that_cannot_be_read_are_named() -> None:
    import pandas as pd

    with pytest.raises(InputError, match=r"expected a pandas data frame, got polars.DataFrame. .*to_pandas\(\)"):
        Detections.from_pandas(MADE.to_polars())  # type: ignore[arg-type]
    twice = pd.DataFrame([["a.wav", 0.0, 3.0, "Parus major", "Parus major"]])
    twice.columns = pd.Index(["file", "start_time", "end_time", "label", "label"])
    with pytest.raises(FormatError, match="expected each column once, got label twice"):
        Detections.from_pandas(twice)
    with pytest.raises(InputError, match="expected a Run, Detections, .*, got str"):
        Detections(["a.wav"])  # type: ignore[list-item]


def test_frames_may_have_gaps_where_nothing_is_missing() -> None:
    import pandas as pd

    labels = pd.DataFrame(WIDE | {"Parus major": [1, 0], "Cuculus canorus": [True, True]})
    (table,) = Detections.from_pandas(labels)
    assert [(d.start_s, d.scientific_name, d.score) for d in table.detections] == [
        (0.0, "Parus major", 1.0),
        (0.0, "Cuculus canorus", 1.0),
        (3.0, "Cuculus canorus", 1.0),
    ]
    frame = pd.DataFrame(FRAME | {"file": ["a.wav", None], "common_name": [None, "Tit"], "score": ["0.5", "1"]})
    first, second = Detections.from_pandas(frame, recording="b.wav")
    (tit,) = first.detections
    assert (first.recording, tit.common_name, tit.score) == ("a.wav", "Parus major", 0.5)
    assert (second.recording, second.detections[0].common_name) == ("b.wav", "Tit")
    assert len(Detections.from_pandas(frame[:0])) == 0


def test_our_own_frames_come_back_whole() -> None:
    owl = Detection(
        *(1.0, 4.0, "Strix aluco (song)", "Owl", "sound", 0.5),
        in_range=False,
        low_hz=500.0,
        probability=0.75,
        human_voice=True,
        channel=2,
    )
    metadata = RecordingMetadata(datetime(2026, 5, 1, 4, 30, tzinfo=UTC), 52.5, 13.4)
    made = Detections([*MADE, RecordingTable("c.wav", 4.0, 1, metadata, 17, (owl,))], MADE.provenance)
    again = Detections.from_pandas(made.to_pandas())
    assert [table.detections for table in again] == [table.detections for table in made]
    assert [(t.recording, t.metadata, t.week) for t in again] == [(t.recording, t.metadata, t.week) for t in made]
    assert (again.provenance.model, again.provenance.bundle_id) == ("birdnet", "0123456789ab")
    assert again.to_arrow().equals(made.to_arrow())


def test_annotations_of_crowsetta_have_possible_times() -> None:
    import crowsetta

    box = crowsetta.BBox(label="Parus major", onset=0.5, offset=np.inf, low_freq=1.0, high_freq=2.0)
    with pytest.raises(InputError, match=r"a\.txt: 'Parus major' from 0.5 to inf s: expected an end"):
        Detections.from_crowsetta([crowsetta.Annotation(annot_path="a.txt", notated_path="a.wav", bboxes=[box])])
    with pytest.raises(InputError, match="expected crowsetta's Annotation objects in a list, got str"):
        Detections.from_crowsetta(["a.txt"])


def test_a_frame_in_place_of_tables_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"got a DataFrame. Convert it with Detections.from_pandas\(frame\)"):
        Detections(MADE.to_pandas())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"Convert it with Detections.from_pandas\(frame.to_pandas\(\)\)"):
        Detections(MADE.to_polars())  # type: ignore[arg-type]


@pytest.mark.parametrize("zero", ["0", "0.0", "0.0000", ""])
def test_zero_is_no_detection_in_a_column_for_each_class(tmp_path: Path, zero: str) -> None:
    import pandas as pd

    text = f"file,start_time,end_time,Parus major,Avis_una\na.wav,0,3,{zero},0.25\nb.wav,0,3,1,{zero}\n"
    for name in ("scores.csv", "x.opensoundscape.csv"):
        (tmp_path / name).write_text(text)
    made = [
        read_detections(tmp_path / "scores.csv"),
        read_detections(tmp_path / "x.opensoundscape.csv"),
        Detections.from_pandas(pd.read_csv(tmp_path / "scores.csv")),
    ]
    for tables in made:
        rows = [(t.recording, d.scientific_name, d.score) for t in tables for d in t.detections]
        assert rows == [("a.wav", "Avis_una", 0.25), ("b.wav", "Parus major", 1.0)]


def test_scores_that_round_to_zero_stay_in_wide_tables(tmp_path: Path) -> None:
    faint = Detection(0.0, 3.0, "Avis una", "Bird", "species", 3e-5)
    write_detections([RecordingTable("a", 3.0, 1, METADATA, None, (faint,))], tmp_path / "x.opensoundscape.csv")
    (table,) = read_detections(tmp_path / "x.opensoundscape.csv")
    assert [each.score for each in table.detections] == [3e-5]
