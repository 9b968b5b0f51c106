"""Rows of a recording's results."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pytest

from dawnchorus.archive.manifest import Entry, ListedFile
from dawnchorus.archive.rows import SharedValues, analysis_rows, failure_row, find_site
from dawnchorus.audio.sample_analyses import build_table
from dawnchorus.types import RecordingMetadata, RecordingTable

NAME = "SITE7/SITE7_20260512_040000.wav"
SHARED = SharedValues(Entry(7, "1-000000", ListedFile(NAME, b"/SITE7.wav", 10, "1")), "r", "w-1-000000")


@pytest.mark.parametrize(
    ("path", "site"),
    [
        (NAME, "SITE7"),
        ("forest edge/20260512_040000.WAV", "forest edge"),
        ("a/b/dawn.wav", "b"),
        ("dawn.wav", ""),
    ],
)
def test_the_site_is_in_the_name_or_that_of_the_folder(path: str, site: str) -> None:
    assert find_site(PurePath(path)) == site


def test_a_failure_has_the_time_of_its_name() -> None:
    row = failure_row(SHARED, "it is cut off")
    assert (row["status"], row["start_time"], row["zone"]) == ("failed", "2026-05-12T04:00:00.000", None)
    assert (row["month"], row["site"], row["recording_id"], row["n_bytes"]) == ("2026-05", "SITE7", 7, 10)


def test_columns_of_an_analysis_have_one_type_whatever_a_recording_has() -> None:
    start = datetime(2026, 5, 12, 4, tzinfo=UTC)
    table = RecordingTable(NAME, 3.0, 16_000, RecordingMetadata(start_time=start), None, ())
    short = build_table(
        {"start_s": np.array([0.0, 1.0], np.float32), "n": np.array([1, 2], np.uint8), "word": ["a", "b"]}
    )
    long = build_table({"start_s": [0, 60], "n": np.array([1, 2], np.int64), "word": ["abc", "d"]})
    rows = analysis_rows(SHARED, short, table)
    assert rows["start_time"].to_pylist() == ["2026-05-12T04:00:00+00:00", "2026-05-12T04:00:01+00:00"]
    types = {field.name: field.type for field in analysis_rows(SHARED, long, table).schema}
    assert types["n"] == pa.int64() == rows.schema.field("n").type
    assert set(rows["month"].to_pylist()) == {"2026-05"}
