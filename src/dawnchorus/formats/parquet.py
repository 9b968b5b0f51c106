"""Parquet: every field of every detection, typed, with the run's parameters in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.errors import FormatError
from dawnchorus.formats.fields import fields_of
from dawnchorus.types import Detection, Provenance, RecordingTable

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


_OF_DETECTION = tuple(field.name for field in fields(Detection) if field.name in SCHEMA.names)


def write(stream: BinaryIO, tables: Iterable[RecordingTable], provenance: Provenance) -> None:
    """Write one row per detection, some 10,000 rows in memory at a time."""
    metadata = {METADATA_KEY: json.dumps(asdict(provenance), ensure_ascii=False).encode()}
    schema = SCHEMA.with_metadata(metadata)
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for table in tables:
            rows.extend(fields_of(table, found, provenance) for found in table.detections)
            if len(rows) >= ROWS_AT_A_TIME:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


def read(path: Path) -> Iterator[tuple[str | None, Detection]]:
    """Recording and detection of each row of a table of ours.

    Raises:
        FormatError: the file is no Parquet, or not of our columns.
    """
    try:
        file = pq.ParquetFile(path)
        missing = set(SCHEMA.names) - set(file.schema_arrow.names)
    except pa.ArrowInvalid as error:
        raise FormatError(f"{path}: expected a Parquet file ({error}).") from error
    if missing:
        raise FormatError(f"{path}: expected the columns of a Dawn Chorus table, without {sorted(missing)}.")
    for batch in file.iter_batches():
        for row in batch.to_pylist():
            names = (
                "start_s",
                "end_s",
                "scientific_name",
                "common_name",
                "kind",
                "score",
                "probability",
                "in_range",
                "human_voice",
            )
            yield row["recording"], Detection(**{name: row[name] for name in names})
