"""JSON lines: one object per detection with everything known of it. `schema` changes when a key does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import BinaryIO

from dawnchorus.formats.fields import build_row
from dawnchorus.formats.text import text_stream
from dawnchorus.types import Provenance, RecordingTable

SCHEMA = 1


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one object per detection."""
    with text_stream(stream) as text:
        for table in tables:
            for detection in table.detections:
                row = {"schema": SCHEMA, **build_row(table, detection, provenance)}
                row |= {"start_s": round(detection.start_s, 3), "end_s": round(detection.end_s, 3)}
                row["score"] = round(detection.score, 4)
                text.write(json.dumps(row, ensure_ascii=False) + "\n")
