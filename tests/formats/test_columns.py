"""The schema of columns: it has what a detection has, its page says so, and older tables stay readable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pyarrow.parquet as pq
import pytest

from dawnchorus.formats import birdnet_csv, json_lines, parquet, raven
from dawnchorus.formats.columns import COLUMNS, DETECTION_COLUMNS, round_values
from dawnchorus.formats.registry import FORMATS, write_tables
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

STORED = Path(__file__).with_name("stored")
"""Tables that the version of 2026-11-27 wrote: `one` signal, and `each` channel by itself."""

DOCS = Path(__file__).parents[2] / "docs" / "COLUMNS.md"

PYTHON_TYPES = {
    "category": str,
    "string": str,
    "float64": float,
    "float32": float,
    "int16": int,
    "int8": int,
    "bool": bool,
}

BIRD = Detection(
    0.0, 3.0, "Parus major", "Great Tit", "species", 0.875, in_range=True, probability=0.5, human_voice=False
)
ENGINE = Detection(1.5, 4.5, "Engine", "Engine", "sound", 0.25, human_voice=True)


def test_a_detection_has_the_columns_of_the_schema() -> None:
    expected = {
        column.name: PYTHON_TYPES[column.type] if column.is_required else PYTHON_TYPES[column.type] | None
        for column in DETECTION_COLUMNS
    }
    assert get_type_hints(Detection) == expected


def test_the_page_has_every_column() -> None:
    rows = [
        f"| `{column.name}` | {column.type} | {'yes' if column.is_required else ''} | {column.meaning} |"
        for column in COLUMNS
    ]
    assert "\n".join(rows) in DOCS.read_text("utf-8")


@pytest.mark.parametrize(("name", "channels"), [("one", (None, None)), ("each", (1, 2))])
def test_tables_of_an_older_version_are_read(name: str, channels: tuple[int | None, ...]) -> None:
    bird, engine = (replace(each, channel=channel) for each, channel in zip((BIRD, ENGINE), channels, strict=True))
    path = "/data/Grünfink/a.wav"
    assert "low_hz" not in pq.read_schema(STORED / f"{name}.parquet").names
    assert list(parquet.read(STORED / f"{name}.parquet")) == [(path, bird), (path, engine)]
    read = [replace(each, probability=None) for each in (bird, engine)]
    assert list(birdnet_csv.read(STORED / f"{name}.csv")) == [(path, each) for each in read]
    assert [each.score for _, each in raven.read(STORED / f"{name}.selections.txt")] == [0.875, 0.25]
    assert list(json_lines.read(STORED / f"{name}.jsonl")) == [(path, bird), (path, engine)]


def test_numbers_of_json_are_rounded_and_nothing_else() -> None:
    row = {"start_s": 1.23456, "score": 0.123456, "low_hz": 440.06, "week": 17, "channel": None, "mine": 0.123456}
    assert round_values(row) == row | {"start_s": 1.235, "score": 0.1235, "low_hz": 440.1}


@pytest.mark.parametrize("name", ["csv", "raven", "parquet", "jsonl"])
def test_verdicts_of_people_come_back_and_are_left_out_where_there_are_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].suffix}"
    rows = (replace(BIRD, verdict="unsure"), ENGINE, replace(BIRD, verdict="relabeled"))
    table = RecordingTable("a.wav", 6.0, 48_000, RecordingMetadata(), None, rows)
    for parameters, expected in (({"reviewed": True}, ["unsure", None, "relabeled"]), ({}, [None] * 3)):
        if name in ("parquet", "jsonl") and not parameters:
            continue  # they have all columns
        write_tables(path, [table], Provenance("m", "1", "0123456789ab", "dawnchorus 1", parameters))
        read = FORMATS[name].read
        assert read is not None
        assert [detection.verdict for _, detection in read(path)] == expected
