"""OpenSoundscape score tables: one row per window, one column per class.

`file`, `start_time` and `end_time` are the index. A window without a detection has no row, and a class that was not
detected in a window has an empty cell. A cell with 0 is not a detection either.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from dawnchorus.formats.checks import find_score_problem
from dawnchorus.formats.class_names import one_line, read_class, write_class
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.text import NamedColumns, RowError, check_row, score, seconds, text_stream
from dawnchorus.types import Detection, Provenance, RecordingTable

INDEX = ("file", "start_time", "end_time")


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one row per window with a detection; rows wait in a temporary file until all classes are known.

    Of several detections of a class in a window, the highest score is written. `provenance` is not written, and
    `stream` stays open.
    """
    del provenance  # there are no columns for it; it goes into the file next to the table
    classes: dict[str, None] = {}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as waiting:
        for table in tables:
            windows: dict[tuple[float, float], dict[str, float]] = {}
            columns = DetectionColumns.from_detections(table.detections)
            fields = ("start_s", "end_s", "scientific_name", "common_name", "score")
            for start_s, end_s, scientific_name, common_name, value in columns.rows(*fields):
                name = scientific_name or common_name
                scores = windows.setdefault((start_s, end_s), {})
                scores[name] = max(scores.get(name, value), value)
                classes.setdefault(name)
            for window, scores in windows.items():
                waiting.write(json.dumps([table.recording, *window, scores]) + "\n")
        waiting.seek(0)
        with text_stream(stream) as text:
            rows = csv.writer(text, lineterminator="\n")
            rows.writerow([*INDEX, *(one_line(write_class(name)) for name in classes)])
            for recording, start_s, end_s, scores in map(json.loads, waiting):
                cells = (_cell(scores[name]) if name in scores else "" for name in classes)
                rows.writerow([recording, seconds(start_s), seconds(end_s), *cells])


def _cell(value: float) -> str:
    """Format a score with four decimals, or with one digit if these are all 0: a cell with 0 is no detection."""
    text = score(value)
    return f"{value:.0e}" if value > 0 and not float(text) else text


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each cell that is neither empty nor 0; all columns but the index are classes.

    The recording is None for a row with an empty column `file`.

    Raises:
        FormatError: the file is not a table, an index column is missing, a row cannot be parsed, a time is impossible,
            or a score is not a number from 0 to 1, such as a logit.
    """
    rows = NamedColumns(path)
    file, start, end = (rows.require([name]) for name in INDEX)
    index = (file, start, end)
    labels = {column: read_class(name) for column, name in enumerate(rows.header) if column not in index and name}
    for line, fields in rows:
        start_s, end_s = rows.offset_s(line, fields, start), rows.offset_s(line, fields, end)
        for column, label in labels.items():
            value = rows.number_or_none(line, fields, column)
            if not value:
                continue
            if (problem := find_score_problem(value)) is not None:
                sentence = f"column '{rows.header[column]}': {problem} If it is no column of a class, drop it."
                raise RowError(path, line, sentence)
            detection = Detection(start_s, end_s, label.scientific_name, label.common_name, label.kind, value)
            yield rows.text(fields, file), check_row(path, line, detection)
