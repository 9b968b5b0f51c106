"""Parquet: every column of every detection, typed, with the run's parameters in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.errors import FormatError
from dawnchorus.formats.checks import find_problem
from dawnchorus.formats.columns import COLUMNS, DETECTION_COLUMNS, Column
from dawnchorus.formats.detection_columns import (
    METADATA_COLUMNS,
    DetectionColumns,
    Metadata,
    first_metadata,
    fixed_values,
    start_times,
)
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


def open_batches(tables: Iterable[RecordingTable], provenance: Provenance) -> pa.RecordBatchReader:
    """Return a reader of record batches of `SCHEMA`, with one row per detection; `tables` are read on demand.

    About 10,000 rows are in memory at a time; all rows of a recording are in one batch. The provenance is in the
    metadata of the schema, as JSON with the key `METADATA_KEY`.
    """
    metadata = {METADATA_KEY: json.dumps(asdict(provenance), ensure_ascii=False).encode()}
    schema = SCHEMA.with_metadata(metadata)
    return pa.RecordBatchReader.from_batches(schema, _batches(tables, provenance, schema))


def _batches(tables: Iterable[RecordingTable], provenance: Provenance, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of complete recordings; the last batch may be empty."""
    waiting: list[RecordingTable] = []
    n_waiting = 0
    for table in tables:
        waiting.append(table)
        n_waiting += len(table.detections)
        if n_waiting >= ROWS_AT_A_TIME:
            yield _build_batch(waiting, provenance, schema)
            waiting, n_waiting = [], 0
    yield _build_batch(waiting, provenance, schema)


def _build_batch(tables: Sequence[RecordingTable], provenance: Provenance, schema: pa.Schema) -> pa.RecordBatch:
    parts = [DetectionColumns.from_detections(table.detections) for table in tables]
    detections = DetectionColumns.concatenate(parts)
    arrays = {column.name: _to_arrow(detections, column) for column in DETECTION_COLUMNS}
    starts = (start_times(table, part.column("start_s").tolist()) for table, part in zip(tables, parts, strict=True))
    arrays["start_time"] = pa.array([time for times in starts for time in times], pa.string())
    fixed = [fixed_values(table, provenance) for table in tables]
    position = np.repeat(np.arange(len(tables)), [len(part) for part in parts])
    for column in COLUMNS:
        if column.name not in arrays:
            kind = pa.string() if column.type == "category" else _TYPES[column.type]
            values = pa.array([values[column.name] for values in fixed], kind)
            arrays[column.name] = (values.dictionary_encode() if column.type == "category" else values).take(position)
    return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _to_arrow(detections: DetectionColumns, column: Column) -> pa.Array:
    values, is_null = detections.column(column.name), detections.is_null(column.name)
    if column.type == "category":
        return pa.array(values, pa.string(), mask=is_null).dictionary_encode()
    if column.type == "bool":
        values = values.astype(bool)
    return pa.array(values, _TYPES[column.type], mask=is_null, safe=False)  # scores lose digits, as float32 has fewer


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one row per detection, with the provenance as JSON in the file's metadata; `stream` stays open."""
    batches = open_batches(tables, provenance)
    with pq.ParquetWriter(stream, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_provenance(path: Path) -> Provenance | None:
    """Return the provenance in a file's metadata; None if the metadata has none.

    Raises:
        FormatError: the file is not Parquet.
    """
    with reading_parquet(path):
        metadata = pq.read_schema(path).metadata or {}
    return Provenance(**json.loads(metadata[METADATA_KEY])) if METADATA_KEY in metadata else None


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each row; optional columns may be missing, and other columns are ignored.

    The recording is None if it is null in the row.

    Raises:
        FormatError: the file is not Parquet, lacks a required column, has a column of another type, or has an
            impossible time or score (see `checks.find_problem`).
    """
    with reading_parquet(path):
        file = pq.ParquetFile(path)
        names = set(file.schema_arrow.names)
    missing = {column.name for column in COLUMNS if column.is_required} - names
    if missing:
        raise FormatError(f"expected the columns of a Dawn Chorus table, without {sorted(missing)}.", subject=path)
    fields = [_read_field(column) for column in DETECTION_COLUMNS if column.name in names]
    schema = pa.schema([pa.field("recording", pa.string()), *fields])
    for number, row in enumerate(_rows(path, file, schema)):
        recording = row.pop("recording")
        detection = Detection(**row)
        if (problem := find_problem(detection)) is not None:
            field, sentence = problem
            raise FormatError(f"row {number} (counted from 0), column '{field}': {sentence}", subject=path)
        yield recording, detection


def read_metadata(path: Path) -> Metadata:
    """Return (metadata, week) by recording, from a file that `write` wrote.

    The metadata are the recording's location and start time; the week is from 1 to 48, and None if unknown.

    Raises:
        FormatError: the file is not Parquet, a time is not in ISO 8601, or a location or week is no number.
    """
    with reading_parquet(path):
        file = pq.ParquetFile(path)
        known = [name for name in METADATA_COLUMNS if name in file.schema_arrow.names]
        batches = (batch.to_pydict() for batch in file.iter_batches(columns=known))
        return first_metadata(
            row
            for columns in batches
            for row in zip(
                *(columns.get(name, [None] * len(columns["start_s"])) for name in METADATA_COLUMNS), strict=True
            )
        )


def _read_field(column: Column) -> pa.Field:
    """Return the Arrow field for reading a column: plain strings, and float64 for float32, as others may write it."""
    kind = {"category": pa.string(), "float32": pa.float64()}.get(column.type, _TYPES[column.type])
    return pa.field(column.name, kind, nullable=not column.is_required)


def _rows(path: Path, file: pq.ParquetFile, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    with reading_parquet(path):
        for batch in file.iter_batches(columns=schema.names):
            table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            table.validate(full=True)
            yield from table.to_pylist()
