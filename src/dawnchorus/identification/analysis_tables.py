"""Tables of a run's analyses: the rows of all recordings, or summaries of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import chain
from typing import Any

import numpy as np

from dawnchorus.audio.sample_analyses import Table, build_table
from dawnchorus.inference.analyses.base import Analysis, AnalyzedRecording

Columns = np.dtype[np.void]
"""Names, types and shapes of a table's columns."""


def build_tables(analysis: Analysis, recordings: Iterable[AnalyzedRecording]) -> Iterator[tuple[str, Iterable[Table]]]:
    """Yield (name suffix, pieces) for each table of an analysis; the suffix of the main table is "".

    The pieces are arrays whose concatenation is the table. An analysis without `summarize` has only the main table: the
    rows of all recordings, one piece for each recording, made on demand, with the columns `recording` (its name) and
    `start_time` (clock time of the row) before the others. Without recordings, each suffix in `Analysis.tables`
    is yielded without pieces.

    Raises:
        PlugInError: `summarize` of a plug-in failed.
    """
    recordings = iter(recordings)
    first = next(recordings, None)
    if first is None:  # all failed: there is nothing to summarize
        yield from ((name, ()) for name in analysis.tables)
        return
    recordings = chain([first], recordings)
    if analysis.summarize is None:
        yield "", (_add_recording(recording) for recording in recordings)
        return
    for name, table in analysis.summarize(recordings).items():
        yield name, [table]


def find_columns(tables: Iterable[Table]) -> Columns:
    """Return the columns of the first table with rows, with types that can hold the values of all compatible tables.

    Tables with other names, shapes or kinds of columns are ignored. Without rows, the columns are those of the last
    table; without tables, there are none.
    """
    columns: Columns = np.dtype([])
    has_rows = False
    for table in tables:
        if not has_rows:
            columns, has_rows = table.dtype, len(table) > 0
        elif fit_rows(table, columns) is not None and len(table):
            columns = np.promote_types(columns, table.dtype)
    return columns


def fit_rows(rows: Table, columns: Columns) -> Table | None:
    """Convert rows to the types of `columns`; None if names, shapes or kinds of their columns differ.

    A table without rows always fits.
    """
    if not len(rows):
        return np.empty(0, columns)
    return rows.astype(columns) if _list_kinds(rows.dtype) == _list_kinds(columns) else None


def describe_misfit(name: str, rows: Table, columns: Columns) -> str:
    """Return the warning that a recording's rows are left out of an analysis, since their columns differ.

    Args:
        name: name of the analysis.
        rows: rows of the recording that the warning is about.
        columns: columns in the first recording, from which those of `rows` differ.
    """
    expected, got = (
        ", ".join(f"{column} ({kind})" for column, kind, _ in _list_kinds(each)) for each in (columns, rows.dtype)
    )
    return (
        f"analysis '{name}' has no rows of it: expected the columns {expected or 'none'}, as in the first recording, "
        f"got {got or 'none'}"
    )


def _list_kinds(columns: Columns) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, kind of values and shape of each column; all numeric types are one kind."""
    return [(name, _name_kind(columns[name].base), columns[name].shape) for name in columns.names or ()]


def _name_kind(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "biuf":
        return "numbers"
    return "text" if dtype.kind == "U" else dtype.name


def _add_recording(recording: AnalyzedRecording) -> Table:
    """Return the rows of a recording with columns for its name and the clock time.

    The clock time is that of the row's `start_s`, or, without such a column, of the recording's start.
    """
    rows = recording.rows
    names = rows.dtype.names or ()
    start = recording.metadata.start_time
    starts_s = rows["start_s"].tolist() if "start_s" in names else [0.0] * len(rows)
    times = ["" if start is None else (start + timedelta(seconds=each)).isoformat() for each in starts_s]
    columns = {"recording": np.full(len(rows), recording.recording), "start_time": np.array(times, str)}
    return build_table(columns | {name: rows[name] for name in names})
