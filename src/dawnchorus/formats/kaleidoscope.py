"""Kaleidoscope's CSV.

`TOP1DIST` is a distance: 0 for the best match, so 1 minus the score. `CHANNEL` counts from 0, and is there where each
channel was scored by itself.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import PurePath
from typing import BinaryIO

from dawnchorus.formats.columns import has_channels
from dawnchorus.formats.text import score, seconds, text_stream
from dawnchorus.types import Provenance, RecordingTable

COLUMNS = ("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH", "TOP1DIST")
_BEFORE_CHANNEL = 3


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection."""
    # Kaleidoscope has no place for the provenance; it goes into the file beside the table
    channel = ["CHANNEL"] if has_channels(provenance) else []
    with text_stream(stream) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([*COLUMNS[:_BEFORE_CHANNEL], *channel, *COLUMNS[_BEFORE_CHANNEL:]])
        for table in tables:
            path = PurePath(table.recording)
            for detection in table.detections:
                rows.writerow(
                    [
                        str(path.parent.parent),
                        path.parent.name,
                        path.name,
                        *((detection.channel or 1) - 1 for _ in channel),
                        seconds(detection.start_s),
                        seconds(detection.end_s - detection.start_s),
                        detection.common_name,
                        score(1 - detection.score),
                    ]
                )
