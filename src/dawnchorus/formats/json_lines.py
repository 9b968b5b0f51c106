"""JSON lines: one object per detection with every column. `schema` changes when a key does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO

from dawnchorus.formats.columns import round_values
from dawnchorus.formats.detection_columns import iterate_rows
from dawnchorus.formats.text import RowError, text_stream
from dawnchorus.tables import read_text
from dawnchorus.types import Detection, Provenance, RecordingTable

SCHEMA = 1


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one object per detection."""
    with text_stream(stream) as text:
        for table in tables:
            for values in iterate_rows(table, provenance):
                row = {"schema": SCHEMA, **round_values(values)}
                text.write(json.dumps(row, ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield recording and detection of each line of ours.

    Raises:
        FormatError: a line is no object of ours.
    """
    names = [field.name for field in fields(Detection)]
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            row = json.loads(line)
            detection = {name: row[name] for name in names if name in row}
            detection |= {name: float(row[name]) for name in ("start_s", "end_s", "score")}
            yield row["recording"], Detection(**detection)
        except (ValueError, KeyError, TypeError) as error:
            raise RowError(path, number, f"expected an object with the keys of our JSON lines ({error!r}).") from error
