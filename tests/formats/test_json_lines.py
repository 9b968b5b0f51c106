"""JSON lines."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from tests.fixtures.detection_tables import written

from dawnchorus.errors import FormatError
from dawnchorus.formats.files import read_detections
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable


def test_json_lines_are_rounded_and_readable() -> None:
    detection = Detection(0.12349, 3.12349, "Chloris chloris", "Grünfink", "species", 0.87654)
    table = RecordingTable("/a.wav", 9.0, 48_000, RecordingMetadata(), None, (detection,))
    (line,) = written("jsonl", [table]).decode().splitlines()
    row = json.loads(line)
    assert (row["start_s"], row["end_s"], row["score"]) == (0.123, 3.123, 0.8765)
    assert "Grünfink" in line


def test_locations_times_and_the_model_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(written("jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    read = read_detections(path)
    (table,) = (each for each in read if each.recording == rows[0]["recording"])
    assert (table.metadata.latitude, table.metadata.longitude) == (rows[0]["latitude"], rows[0]["longitude"])
    assert table.week == rows[0]["week"]
    assert table.metadata.latitude is not None
    assert table.clock_time(rows[0]["start_s"]) == datetime.fromisoformat(rows[0]["start_time"])
    assert (read.provenance.model, read.provenance.bundle_id) == (rows[0]["model"], rows[0]["bundle_id"])
    assert read.provenance.model
    path.write_text(json.dumps({**rows[0], "start_time": "noon"}))
    with pytest.raises(FormatError, match="line 1: expected an object with the keys of our JSON lines .*noon"):
        read_detections(path)
