"""Export of rows of an archive to CSV and Parquet files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dawnchorus.errors import InputError
from dawnchorus.storage.files import atomic_file


def write_rows(rows: pa.RecordBatchReader, out: Path | None) -> int:
    """Write rows as they are read, and return their number; errors of `rows` are passed on.

    `out` is a .csv or .parquet file, which is replaced if it exists; None for CSV on standard output. In a CSV,
    `path` is text, and there are no other columns of bytes.

    Raises:
        InputError: the file's name does not end in .csv or .parquet.
        OutputError: no space, or no permission.
    """
    if out is None:
        return _write_csv(sys.stdout.buffer, rows)
    write = _WRITERS.get(out.suffix.lower())
    if write is None:
        raise InputError(f"expected a name that ends in {' or '.join(_WRITERS)}.", subject=out)
    with atomic_file(out) as stream:
        return write(stream, rows)


def _write_csv(stream: BinaryIO, rows: pa.RecordBatchReader) -> int:
    fields = [pa.field("path", pa.string()) if field.name == "path" else field for field in rows.schema]
    schema = pa.schema([field for field in fields if not pa.types.is_binary(field.type)])
    n_rows = 0
    with pa_csv.CSVWriter(stream, schema) as writer:
        for batch in rows:
            n_rows += len(batch)
            columns = [_as_text(batch[name]) if name == "path" else batch[name] for name in schema.names]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return n_rows


def _as_text(paths: pa.BinaryArray) -> pa.StringArray:
    r"""Return paths as text; bytes that are no text become escapes, such as `\xe9`."""
    return pa.array([path and path.decode(errors="backslashreplace") for path in paths.to_pylist()], pa.string())


def _write_parquet(stream: BinaryIO, rows: pa.RecordBatchReader) -> int:
    n_rows = 0
    with pq.ParquetWriter(stream, rows.schema, compression="zstd") as writer:
        for batch in rows:
            n_rows += len(batch)
            writer.write_batch(batch)
    return n_rows


_WRITERS: dict[str, Callable[[BinaryIO, pa.RecordBatchReader], int]] = {".csv": _write_csv, ".parquet": _write_parquet}
