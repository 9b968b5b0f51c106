"""JSON lines: one object per detection with everything known of it. Stable: `schema` changes when a key does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import BinaryIO

from dawnchorus.formats.text import text_stream
from dawnchorus.types import Provenance, RecordingTable

SCHEMA = 1


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one object per detection."""
    made_by = {
        "model": provenance.model,
        "model_version": provenance.model_version,
        "bundle_id": provenance.bundle_id,
        "software": provenance.software,
    }
    with text_stream(stream) as text:
        for table in tables:
            for found in table.detections:
                time = table.clock_time(found.start_s)
                row = {
                    "schema": SCHEMA,
                    "recording": table.recording,
                    **asdict(found),
                    "start_s": round(found.start_s, 3),
                    "end_s": round(found.end_s, 3),
                    "score": round(found.score, 4),
                    "start_time": time and time.isoformat(timespec="milliseconds"),
                    "latitude": table.origin.latitude,
                    "longitude": table.origin.longitude,
                    "week": table.week,
                    **made_by,
                }
                text.write(json.dumps(row, ensure_ascii=False) + "\n")
