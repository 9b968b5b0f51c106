"""JSON lines: one object per detection with everything known of it. `schema` changes when a key does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import BinaryIO

from dawnchorus.formats.fields import fields_of
from dawnchorus.formats.text import text_stream
from dawnchorus.types import Provenance, RecordingTable

SCHEMA = 1


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one object per detection."""
    with text_stream(stream) as text:
        for table in tables:
            for found in table.detections:
                row = {"schema": SCHEMA, **fields_of(table, found, provenance)}
                row |= {"start_s": round(found.start_s, 3), "end_s": round(found.end_s, 3)}
                row["score"] = round(found.score, 4)
                text.write(json.dumps(row, ensure_ascii=False) + "\n")
