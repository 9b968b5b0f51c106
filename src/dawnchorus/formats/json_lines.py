"""JSON lines: one object per detection with every column. The number in `schema` goes up when a key changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dawnchorus.formats.class_names import split_lines
from dawnchorus.formats.columns import COLUMNS, DETECTION_COLUMNS, round_values
from dawnchorus.formats.detection_columns import METADATA_COLUMNS, Metadata, first_metadata, iterate_rows
from dawnchorus.formats.text import RowError, check_row, text_stream
from dawnchorus.tables import read_text
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

SCHEMA = 1

_RUN_COLUMNS = tuple(column.name for column in COLUMNS if column.source == "run")


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one object per detection, with model, model_version, bundle_id and software of `provenance` in each object.

    `stream` stays open.
    """
    with text_stream(stream) as text:
        for table in tables:
            for values in iterate_rows(table, provenance):
                row = {"schema": SCHEMA, **round_values(values)}
                text.write(json.dumps(row, ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each line; the recording is None if the line has null for it.

    Raises:
        FormatError: the file is not text, a line is not a JSON object that `write` wrote, or has an impossible time or
            score (see `checks.find_problem`).
    """
    for number, line in enumerate(split_lines(read_text(path)), start=1):
        with _row(path, number):
            row = json.loads(line)
            recording, detection = row["recording"], Detection(**_read_values(row))
        yield recording, check_row(path, number, detection)


def read_metadata(path: Path) -> tuple[Metadata, dict[str, Any]]:
    """Return two dictionaries: (metadata, week) by recording, and values of the run that wrote the file by name.

    The metadata are the recording's location and start time; the week is from 1 to 48, and None if unknown.

    The values are model, model_version, bundle_id and software. The second dictionary is empty unless all rows have the
    same four values; a value that is null is left out.

    Raises:
        FormatError: the file is not text, a line is not a JSON object that `write` wrote, a time is not in ISO 8601, or
            a location or week is no number.
    """
    metadata: dict[str, tuple[RecordingMetadata, int | None]] = {}
    runs: set[tuple[str | None, ...]] = set()
    for number, line in enumerate(split_lines(read_text(path)), start=1):
        with _row(path, number):
            row = json.loads(line)
            runs.add(tuple(row.get(name) for name in _RUN_COLUMNS))
            if row["recording"] not in metadata:
                metadata |= first_metadata([[row.get(name) for name in METADATA_COLUMNS]])
    run = next(iter(runs)) if len(runs) == 1 else ()
    return metadata, {name: str(value) for name, value in zip(_RUN_COLUMNS, run, strict=False) if value is not None}


@contextmanager
def _row(path: Path, number: int) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RowError(path, number, f"expected an object with the keys of our JSON lines ({error!r}).") from error


def _read_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a detection by column name, without columns that the row, of an older version, lacks."""
    given = [column for column in DETECTION_COLUMNS if column.is_required or column.name in row]
    return {
        column.name: float(row[column.name])
        if column.type.startswith("float") and (column.is_required or row[column.name] is not None)
        else row[column.name]
        for column in given
    }
