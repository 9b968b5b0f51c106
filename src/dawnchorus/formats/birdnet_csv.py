"""CSV with BirdNET-Analyzer's columns; `in_range` is added where a range filter was asked."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import BinaryIO

from dawnchorus.formats.text import score, seconds, text_stream
from dawnchorus.types import Provenance, RecordingTable

COLUMNS = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection."""
    with_range = bool(provenance.parameters.get("range_filter"))
    with text_stream(stream) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS + (("in_range",) if with_range else ()))
        for table in tables:
            for found in table.detections:
                row = [
                    seconds(found.start_s),
                    seconds(found.end_s),
                    found.scientific_name,
                    found.common_name,
                    score(found.score),
                    table.recording,
                ]
                if with_range:
                    row.append("" if found.in_range is None else str(found.in_range).lower())
                rows.writerow(row)
