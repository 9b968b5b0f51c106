"""Kaleidoscope's CSV.

`TOP1DIST` is a distance: 0 for the best match, so 1 minus the score; above 1 the score is 0. `CHANNEL` counts from 0,
and is there where each channel was scored by itself.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np

from dawnchorus.formats.columns import has_channels
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.text import NamedColumns, check_row, score, seconds, text_stream
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.types import Detection, Provenance, RecordingTable

COLUMNS = ("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH", "TOP1DIST")
_BEFORE_CHANNEL = 3


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection."""
    # Kaleidoscope has no place for the provenance; it goes into the file next to the table
    with_channel = has_channels(provenance)
    with text_stream(stream) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([*COLUMNS[:_BEFORE_CHANNEL], *["CHANNEL"] * with_channel, *COLUMNS[_BEFORE_CHANNEL:]])
        for table in tables:
            path = PurePath(table.recording)
            columns = DetectionColumns.from_detections(table.detections)
            start_s, end_s = columns.column("start_s"), columns.column("end_s")
            channels = (np.maximum(columns.column("channel"), 1) - 1).tolist()  # an unknown one is 0
            rows.writerows(
                zip(
                    [str(path.parent.parent)] * len(columns),
                    [path.parent.name] * len(columns),
                    [path.name] * len(columns),
                    *[channels] * with_channel,
                    map(seconds, start_s.tolist()),
                    map(seconds, (end_s - start_s).tolist()),
                    columns.to_list("common_name"),
                    map(score, (1 - columns.column("score")).tolist()),
                    strict=True,
                )
            )


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each row; the column of matches names the species.

    Raises:
        FormatError: a column is missing, or a value is not a number, or impossible.
    """
    rows = NamedColumns(path)
    folders = [rows.find_column([name]) for name in COLUMNS[:2]]
    file, offset, duration, match, distance = (rows.require([name]) for name in COLUMNS[2:])
    channel = rows.find_column(["CHANNEL"])
    for line, fields in rows:
        start_s = rows.offset_s(line, fields, offset)
        label = parse_label(rows.text(fields, match) or "")
        number = rows.number_or_none(line, fields, channel)
        detection = Detection(
            start_s=start_s,
            end_s=start_s + rows.offset_s(line, fields, duration),
            scientific_name=label.scientific_name,
            common_name=label.common_name,
            kind=label.kind,
            score=max(1 - rows.number(line, fields, distance), 0.0),
            channel=None if number is None else round(number) + 1,
        )
        parts = (rows.text(fields, column) or "" for column in (*folders, file))
        yield str(PurePath(*parts)), check_row(path, line, detection)
