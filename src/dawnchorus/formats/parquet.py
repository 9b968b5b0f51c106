"""Parquet: every column of every detection, typed, with the run's parameters in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.errors import FormatError
from dawnchorus.formats.columns import COLUMNS, DETECTION_COLUMNS, Column, build_row
from dawnchorus.storage.parquet_files import reading_parquet
from dawnchorus.types import Detection, Provenance, RecordingTable

METADATA_KEY = b"dawnchorus"

ROWS_AT_A_TIME = 10_000

_TYPES = {
    "category": pa.dictionary(pa.int32(), pa.string()),
    "string": pa.string(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "int16": pa.int16(),
    "int8": pa.int8(),
    "bool": pa.bool_(),
}

SCHEMA = pa.schema([(column.name, _TYPES[column.type]) for column in COLUMNS])


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one row per detection, some 10,000 rows in memory at a time."""
    metadata = {METADATA_KEY: json.dumps(asdict(provenance), ensure_ascii=False).encode()}
    schema = SCHEMA.with_metadata(metadata)
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for table in tables:
            rows.extend(build_row(table, detection, provenance) for detection in table.detections)
            if len(rows) >= ROWS_AT_A_TIME:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield recording and detection of each row of a table of ours, also of one with fewer or more columns.

    Raises:
        FormatError: the file is no Parquet, or lacks a column that every row needs.
    """
    with reading_parquet(path):
        file = pq.ParquetFile(path)
        names = set(file.schema_arrow.names)
    missing = {column.name for column in COLUMNS if column.is_required} - names
    if missing:
        raise FormatError(f"{path}: expected the columns of a Dawn Chorus table, without {sorted(missing)}.")
    fields = [_read_field(column) for column in DETECTION_COLUMNS if column.name in names]
    wanted = pa.schema([pa.field("recording", pa.string()), *fields])
    for row in _rows(path, file, wanted):
        yield row.pop("recording"), Detection(**row)


def _read_field(column: Column) -> pa.Field:
    """Return a column as it is read: plain strings, and numbers that other programs may have written wider."""
    kind = {"category": pa.string(), "float32": pa.float64()}.get(column.type, _TYPES[column.type])
    return pa.field(column.name, kind, nullable=not column.is_required)


def _rows(path: Path, file: pq.ParquetFile, wanted: pa.Schema) -> Iterator[dict[str, Any]]:
    with reading_parquet(path):
        for batch in file.iter_batches(columns=wanted.names):
            table = pa.Table.from_batches([batch]).select(wanted.names).cast(wanted)
            table.validate(full=True)
            yield from table.to_pylist()
