"""JSON lines."""

from __future__ import annotations

import json

from tests.fixtures.detection_tables import written

from dawnchorus.types import Detection, RecordingMetadata, RecordingTable


def test_json_lines_are_rounded_and_readable() -> None:
    detection = Detection(0.12349, 3.12349, "Chloris chloris", "Grünfink", "species", 0.87654)
    table = RecordingTable("/a.wav", 9.0, 48_000, RecordingMetadata(), None, (detection,))
    (line,) = written("jsonl", [table]).decode().splitlines()
    row = json.loads(line)
    assert (row["start_s"], row["end_s"], row["score"]) == (0.123, 3.123, 0.8765)
    assert "Grünfink" in line
