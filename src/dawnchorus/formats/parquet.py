"""Parquet: every field of every detection, typed, with the run's parameters in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.errors import FormatError
from dawnchorus.formats.fields import build_row, has_channels
from dawnchorus.storage.parquet_files import reading_parquet
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

METADATA_KEY = b"dawnchorus"

ROWS_AT_A_TIME = 10_000

_WORDS = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        ("recording", _WORDS),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("start_time", pa.string()),
        ("scientific_name", _WORDS),
        ("common_name", _WORDS),
        ("kind", _WORDS),
        ("score", pa.float32()),
        ("probability", pa.float32()),
        ("in_range", pa.bool_()),
        ("human_voice", pa.bool_()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("week", pa.int8()),
        ("model", _WORDS),
        ("model_version", _WORDS),
        ("bundle_id", _WORDS),
        ("software", _WORDS),
    ]
)


_CHANNEL = pa.field("channel", pa.int16())
"""The last column of tables of channels that were scored by themselves."""

_READ = pa.schema(
    [
        pa.field("recording", pa.string()),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("end_s", pa.float64(), nullable=False),
        pa.field("scientific_name", pa.string(), nullable=False),
        pa.field("common_name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("probability", pa.float64()),
        pa.field("in_range", pa.bool_()),
        pa.field("human_voice", pa.bool_()),
    ]
)
"""The columns that are read back, besides `_CHANNEL`."""


def open_batches(tables: Iterable[RecordingTable], provenance: Provenance) -> pa.RecordBatchReader:
    """Return a reader of one row per detection, some 10,000 rows in memory at a time."""
    metadata = {METADATA_KEY: json.dumps(asdict(provenance), ensure_ascii=False).encode()}
    schema = (SCHEMA.append(_CHANNEL) if has_channels(provenance) else SCHEMA).with_metadata(metadata)
    return pa.RecordBatchReader.from_batches(schema, _batches(tables, provenance, schema))


def _batches(tables: Iterable[RecordingTable], provenance: Provenance, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows: list[dict[str, Any]] = []
    for table in tables:
        rows.extend(build_row(table, detection, provenance) for detection in table.detections)
        if len(rows) >= ROWS_AT_A_TIME:
            yield pa.RecordBatch.from_pylist(rows, schema)
            rows = []
    yield pa.RecordBatch.from_pylist(rows, schema)


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one row per detection, with the provenance in the file's metadata."""
    batches = open_batches(tables, provenance)
    with pq.ParquetWriter(stream, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_provenance(path: Path) -> Provenance | None:
    """Return the provenance in the metadata of a table of ours; None where there is none.

    Raises:
        FormatError: the file is no Parquet.
    """
    with reading_parquet(path):
        metadata = pq.read_schema(path).metadata or {}
    return Provenance(**json.loads(metadata[METADATA_KEY])) if METADATA_KEY in metadata else None


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Yield recording and detection of each row of a table of ours.

    Raises:
        FormatError: the file is no Parquet, or not of our columns.
    """
    with reading_parquet(path):
        file = pq.ParquetFile(path)
        missing = set(SCHEMA.names) - set(file.schema_arrow.names)
    if missing:
        raise FormatError(f"{path}: expected the columns of a Dawn Chorus table, without {sorted(missing)}.")
    for row in _rows(path, file):
        yield row.pop("recording"), Detection(**row)


def read_metadata(path: Path) -> dict[str, tuple[RecordingMetadata, int | None]]:
    """Return time and place, and the week, of each recording of a table of ours.

    Raises:
        FormatError: the file is no Parquet, or a time is none.
    """
    names = ["recording", "start_s", "start_time", "latitude", "longitude", "week"]
    metadata: dict[str, tuple[RecordingMetadata, int | None]] = {}
    with reading_parquet(path):
        for batch in pq.ParquetFile(path).iter_batches(columns=names):
            for recording, start_s, time, latitude, longitude, week in zip(*batch.to_pydict().values(), strict=True):
                if recording not in metadata:
                    start = None if time is None else datetime.fromisoformat(time) - timedelta(seconds=start_s)
                    metadata[recording] = RecordingMetadata(start, latitude, longitude), week
    return metadata


def _rows(path: Path, file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    with reading_parquet(path):
        wanted = _READ.append(_CHANNEL) if _CHANNEL.name in file.schema_arrow.names else _READ
        for batch in file.iter_batches(columns=wanted.names):
            table = pa.Table.from_batches([batch]).select(wanted.names).cast(wanted)
            table.validate(full=True)
            yield from table.to_pylist()
