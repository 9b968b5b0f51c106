"""JSON lines: one object per detection with everything known of it. `schema` changes when a key does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import BinaryIO

from dawnchorus.formats.text import text_stream
from dawnchorus.types import Provenance, RecordingTable

SCHEMA = 1


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one object per detection."""
    with text_stream(stream) as text:
        for table in tables:
            for found in table.detections:
                time = table.clock_time(found.start_s)
                row = {
                    "schema": SCHEMA,
                    "recording": table.recording,
                    "start_s": round(found.start_s, 3),
                    "end_s": round(found.end_s, 3),
                    "start_time": time and time.isoformat(timespec="milliseconds"),
                    "scientific_name": found.scientific_name,
                    "common_name": found.common_name,
                    "kind": found.kind,
                    "score": round(found.score, 4),
                    "in_range": found.in_range,
                    "latitude": table.origin.latitude,
                    "longitude": table.origin.longitude,
                    "week": table.week,
                    "model": provenance.model,
                    "model_version": provenance.model_version,
                    "bundle_id": provenance.bundle_id,
                    "software": provenance.software,
                }
                text.write(json.dumps(row, ensure_ascii=False) + "\n")
