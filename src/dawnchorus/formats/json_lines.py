"""JSON lines: one object per detection with every column. `schema` changes when a key does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import BinaryIO

from dawnchorus.formats.columns import build_row, round_values
from dawnchorus.formats.text import text_stream
from dawnchorus.types import Provenance, RecordingTable

SCHEMA = 1


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one object per detection."""
    with text_stream(stream) as text:
        for table in tables:
            for detection in table.detections:
                row = {"schema": SCHEMA, **round_values(build_row(table, detection, provenance))}
                text.write(json.dumps(row, ensure_ascii=False) + "\n")
