"""Writing of NumPy structured arrays, with any columns, as CSV and Parquet."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dawnchorus.formats.text import text_stream

Table = npt.NDArray[np.void]

N_DIGITS = 6
"""Number of significant digits of numbers in CSV."""

ROWS_AT_A_TIME = 10_000


def write_csv(stream: BinaryIO, tables: Iterable[Table]) -> None:
    """Write the rows of arrays [n_rows] with equal fields as CSV; NaN becomes an empty cell.

    Floating-point numbers have 6 significant digits. The header has the field names of the first array; without arrays,
    nothing is written.
    """
    with text_stream(stream) as text:
        writer = csv.writer(text, lineterminator="\n")
        for index, table in enumerate(tables):
            if index == 0:
                writer.writerow(table.dtype.names or ())
            writer.writerows([_cell(value) for value in row] for row in table.tolist())


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.{N_DIGITS}g}"
    return value


def write_parquet(stream: BinaryIO, tables: Iterable[Table]) -> None:
    """Write the rows of arrays [n_rows] with equal fields as Parquet, about 10,000 rows at a time; NaN becomes null.

    Without arrays, the file has no columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches = (_as_arrow(batch) for batch in _join(tables))
    first = next(batches, pa.table({}))
    with pq.ParquetWriter(stream, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for batch in batches:
            writer.write_table(batch)


def _join(tables: Iterable[Table]) -> Iterator[Table]:
    """Yield concatenated tables of at least `ROWS_AT_A_TIME` rows; the last may have fewer."""
    waiting: list[Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= ROWS_AT_A_TIME:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _as_arrow(table: Table) -> Any:
    import pyarrow as pa

    columns = {name: table[name] for name in table.dtype.names or ()}
    return pa.table(
        {
            name: pa.array(values.tolist(), pa.string())
            if values.dtype.kind == "U"
            else pa.array(np.ascontiguousarray(values), from_pandas=True)
            for name, values in columns.items()
        }
    )


WRITERS: dict[str, Callable[[BinaryIO, Iterable[Table]], None]] = {"csv": write_csv, "parquet": write_parquet}
"""Functions that write structured arrays, by the suffix of the file without its dot."""
