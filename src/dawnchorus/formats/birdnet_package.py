"""CSV of the Python package `birdnet`: input, start and end as `HH:MM:SS.cc`, `Genus species_Common Name`, score."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator
from itertools import starmap
from pathlib import Path
from typing import BinaryIO

from dawnchorus.formats.class_names import join_names, split_names
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.text import NamedColumns, check_row, text_stream
from dawnchorus.types import Detection, Provenance, RecordingTable

LOG = logging.getLogger(__name__)

COLUMNS = ("input", "start_time", "end_time", "species_name", "confidence")


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write the header and one row per detection; `provenance` is not written, and `stream` stays open."""
    del provenance  # there are no columns for it; it goes into the file next to the table
    with text_stream(stream) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        escaped: set[str] = set()
        for table in tables:
            columns = DetectionColumns.from_detections(table.detections)
            escaped |= {name for name in columns.to_list("scientific_name") if "_" in name}
            rows.writerows(
                zip(
                    [table.recording] * len(columns),
                    map(_clock, columns.to_list("start_s")),
                    map(_clock, columns.to_list("end_s")),
                    starmap(join_names, columns.rows("scientific_name", "common_name")),
                    map("{:.6f}".format, columns.to_list("score")),
                    strict=True,
                )
            )
    if escaped:
        LOG.warning(
            f"underscores in scientific names are written as \\_ in the format birdnet, in which _ parts the names: "
            f"{len(escaped)} (as {join_names(min(escaped), '')})."
        )


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each row; times may also be in seconds.

    The recording is None for a row with an empty column `input`.

    Raises:
        FormatError: the file is not a table, a column is missing, a row cannot be parsed, or a time, score or name is
            impossible (see `checks.find_problem`).
    """
    rows = NamedColumns(path)
    file, start, end, species, confidence = (rows.require([name]) for name in COLUMNS)
    for line, fields in rows:
        label = split_names(rows.text(fields, species) or "")
        detection = Detection(
            start_s=rows.offset_s(line, fields, start),
            end_s=rows.offset_s(line, fields, end),
            scientific_name=label.scientific_name,
            common_name=label.common_name,
            kind=label.kind,
            score=rows.number(line, fields, confidence),
        )
        yield rows.text(fields, file), check_row(path, line, detection)


def _clock(value_s: float) -> str:
    """Return seconds as `HH:MM:SS.cc`, with a third decimal if it is not 0."""
    milliseconds = round(value_s * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{minutes // 60:02d}:{minutes % 60:02d}:{rest / 1000:06.3f}"
    return text.removesuffix("0")
