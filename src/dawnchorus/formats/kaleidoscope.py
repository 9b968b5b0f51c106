"""CSV of Kaleidoscope: written as its cluster.csv; read also as its id.csv, and with species that people filled in.

`TOP1DIST` is a distance, 0 for the best match. It is written as 1 - score; a distance above 1 is read as the score 0.
`CHANNEL` counts from 0; it is written if each channel was scored separately.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np

from dawnchorus.formats.class_names import one_line, read_class, write_class
from dawnchorus.formats.columns import has_channels
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.text import NamedColumns, convert_marks, score, seconds, text_stream
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.types import Detection, Mark, Provenance, RecordingTable

COLUMNS = ("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH", "TOP1DIST")
_BEFORE_CHANNEL = 3

REQUIRED = ("IN FILE", "OFFSET", "DURATION")
"""Columns that every table of Kaleidoscope has."""

NAMES = ("TOP1MATCH", "AUTO ID", "MANUAL ID", "scientific_name")
"""Columns of species, of which a table has at least one; `scientific_name` is BirdNET-Analyzer's in older versions."""


_KILOHERTZ = 1000.0
"""Factor from the frequencies of an id.csv, in kHz, to Hz; a cluster.csv has Hz."""


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection; `stream` stays open.

    `provenance` is not written; it decides whether there is a column `CHANNEL`.
    """
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
                    map(one_line, map(write_class, columns.to_list("common_name"))),
                    map(score, (1 - columns.column("score")).tolist()),
                    strict=True,
                )
            )


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each row; the species is that in `MANUAL ID`, if a person filled it in.

    The recording is the path that `INDIR`, `FOLDER` and `IN FILE` form together. Without a `MANUAL ID`, the species is
    the automatic one, in the first column that the table has of `TOP1MATCH` (cluster.csv), `AUTO ID` (id.csv) and
    `scientific_name`. The score is 1 - `TOP1DIST` with `TOP1MATCH`, else `MATCH RATIO` or `confidence`. A row
    without such a value, or with a species that a person filled in, has the score 1. A row with neither species nor
    score is left out, with a warning.

    Raises:
        FormatError: the file is not a table, a required column is missing, a row cannot be parsed, or a time or score
            is impossible (see `checks.find_problem`).
    """
    return convert_marks(path, _read_marks(path))


def _read_marks(path: Path) -> Iterator[Mark]:
    rows = NamedColumns(path)
    file, offset, duration = (rows.require([name]) for name in REQUIRED)
    folders = [rows.find_column([name]) for name in ("INDIR", "FOLDER")]
    match, auto, manual, scientific = (rows.find_column([name]) for name in NAMES)
    rows.require(NAMES)
    automatic = next((each for each in (match, auto, scientific) if each is not None), None)
    distance = rows.find_column(["TOP1DIST"])
    ratio, common = rows.find_column(["MATCH RATIO", "confidence"]), rows.find_column(["common_name"])
    low, high, channel = (rows.find_column([name]) for name in ("Fmin", "Fmax", "CHANNEL"))
    hertz = 1.0 if auto is None else _KILOHERTZ

    def mark(line: int, fields: list[str]) -> Mark:
        by_person = rows.text(fields, manual)
        named = rows.text(fields, automatic)
        read = parse_label if by_person or match is None else read_class
        label = read(by_person or named or "")
        common_name = None if by_person else rows.text(fields, common)
        value = None
        if by_person is None and named is not None and match is not None:
            value = max(1 - rows.number(line, fields, rows.require(["TOP1DIST"])), 0.0)
        elif by_person is None and match is not None:
            value = rows.number_or_none(line, fields, distance)  # without a name, refused
        elif by_person is None:
            value = rows.number_or_none(line, fields, ratio)
        start_s = rows.offset_s(line, fields, offset)
        low_value, high_value, number = (rows.number_or_none(line, fields, each) for each in (low, high, channel))
        detection = Detection(
            start_s=start_s,
            end_s=start_s + rows.offset_s(line, fields, duration),
            scientific_name=label.scientific_name,
            common_name=common_name or label.common_name,
            kind=label.kind,
            score=1.0 if value is None else value,
            low_hz=None if low_value is None else low_value * hertz,
            high_hz=None if high_value is None else high_value * hertz,
            channel=None if number is None else round(number) + 1,
        )
        parts = (rows.text(fields, each) or "" for each in (*folders, file))
        return Mark(line, detection, str(PurePath(*parts)), is_scored=value is not None)

    return rows.marks(mark, None)
