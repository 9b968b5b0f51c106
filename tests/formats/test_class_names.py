"""Names of classes come back from tables as they were written, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.detection_tables import PROVENANCE, written

from dawnchorus.formats.class_names import join_names, one_line, read_class, split_lines, split_names, write_class
from dawnchorus.formats.detections import Detections
from dawnchorus.formats.files import read_detections, write_detections
from dawnchorus.formats.registry import FORMATS
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable

names = st.text(st.sampled_from("Aa b_\\();,.1-"), min_size=1, max_size=12).map(str.strip).filter(bool)
READABLE = [name for name, entry in FORMATS.items() if entry.read is not None]
BREAKS = "\t\n\v\f\r\x1c\x85\u2028\u2029"


@given(scientific_name=names, common_name=names)
def test_both_names_come_back(scientific_name: str, common_name: str) -> None:
    label = split_names(join_names(scientific_name, common_name))
    assert (label.scientific_name, label.common_name) == (scientific_name, common_name)


@given(name=names)
def test_one_name_comes_back(name: str) -> None:
    label = read_class(write_class(name))
    assert (label.scientific_name, label.common_name) == (name, name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Parus major", "Parus major"),
        ("great_tit", "great_tit"),
        ("Strix aluco song", "Strix aluco song"),
        ("Parus major_Tit 1", "\\Parus major_Tit 1"),
        ("Great Tit (Parus major)", "\\Great Tit (Parus major)"),
    ],
)
def test_a_name_that_reads_as_two_has_a_backslash(name: str, text: str) -> None:
    assert write_class(name) == text


def test_names_of_others_are_read_as_they_are_meant() -> None:
    both = Label("Parus major", "Great Tit")
    assert [read_class("Parus major_Great Tit"), read_class("Great Tit (Parus major)")] == [both, both]
    assert split_names("Parus major_Great_Tit") == Label("Parus major", "Great_Tit")
    assert split_names("Engine_Engine") == Label("Engine", "Engine", "sound")
    assert split_names("Parus major") == Label("Parus major", "Parus major")


def recording(*detections: Detection) -> RecordingTable:
    return RecordingTable("/d/s/a.wav", 60.0, 16_000, RecordingMetadata(), None, detections)


@pytest.mark.parametrize("name", READABLE)
def test_line_breaks_in_names_stay_in_their_row(tmp_path: Path, name: str) -> None:
    rows = [
        Detection(float(k), k + 1.0, f"Avis{each}una", f"a{each}b", "species", 0.5) for k, each in enumerate(BREAKS)
    ]
    path = tmp_path / f"x{FORMATS[name].suffix}"
    write_detections(recording(*rows), path)
    (table,) = read_detections(path, format=name)
    assert sorted((each.start_s, each.score) for each in table.detections) == [(row.start_s, 0.5) for row in rows]


def test_lines_end_where_programs_end_them() -> None:
    assert one_line(f"a{BREAKS}b") == "a b"
    assert split_lines("a\x85b\r\nc\n\nd\n") == ["a\x85b", "c", "", "d"]


@pytest.mark.parametrize("name", READABLE)
def test_kinds_of_known_sounds_need_no_column(tmp_path: Path, name: str) -> None:
    made = recording(
        Detection(0.0, 1.0, "Engine", "Engine", "sound", 0.5), Detection(1.0, 2.0, "Avis una", "Bird", "species", 0.5)
    )
    path = tmp_path / f"x{FORMATS[name].suffix}"
    path.write_bytes(written(name, [made], PROVENANCE))
    (table,) = read_detections(path, format=name)
    assert [each.kind for each in table.detections] == ["sound", "species"]


@pytest.mark.parametrize("name", ["csv", "raven", "parquet", "jsonl"])
def test_kinds_that_names_do_not_tell_have_a_column(tmp_path: Path, name: str) -> None:
    rain = Detection(0.0, 1.0, "Rain", "Rain", "sound", 0.5)
    path = tmp_path / f"x{FORMATS[name].suffix}"
    write_detections(recording(rain), path)
    (table,) = read_detections(path, format=name)
    assert [each.kind for each in table.detections] == ["sound"]
    tables = Detections([recording(Detection(0.0, 1.0, "Engine", "Engine", "sound", 0.5))])
    assert "kinds" not in tables.provenance.parameters


def test_underscores_that_are_escaped_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_detections(recording(Detection(0.0, 1.0, "Avis_una", "Bird", "species", 0.5)), tmp_path / "x.birdnet.csv")
    assert "written as \\_ in the format birdnet, in which _ parts the names: 1 (as Avis\\_una_)" in caplog.text
    (table,) = read_detections(tmp_path / "x.birdnet.csv")
    assert table.detections[0].scientific_name == "Avis_una"


def test_birdnets_frames_keep_underscores() -> None:
    columns = {"input": ["a.wav"], "start_time": [0.0], "end_time": [3.0], "confidence": [0.5]}
    (table,) = Detections.from_pandas(pd.DataFrame(columns | {"species_name": ["Parus major_Great_Tit"]}))
    assert (table.detections[0].scientific_name, table.detections[0].common_name) == ("Parus major", "Great_Tit")
