"""Analyses of a recording's original samples, before mixing and resampling."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InputError

Table = npt.NDArray[np.void]
"""Rows of a structured array, whose fields are the columns."""

_FAILURES = (Exception, SystemExit)
"""Failures of an analysis, which may be another package's: all but an interrupt from the keyboard."""

RESERVED_COLUMNS = ("recording", "start_time")
"""Columns that the table of a run has before those of the analysis."""


class SampleAnalysis(Protocol):
    """Analysis of the samples of one recording, fed block by block; picklable before its first block."""

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Add samples [frames, channels], full scale -1 to 1; the block is read-only."""
        ...

    def finish(self) -> Table:
        """Return the table of the recording, after the last block."""
        ...


class SampleAnalyses:
    """Analyses of one recording by name; one that fails adds a warning and has no table."""

    def __init__(self, pickled: Mapping[str, bytes]) -> None:
        self.warnings: list[str] = []
        self._analyses: dict[str, SampleAnalysis] = {}
        for name, content in pickled.items():
            try:
                # The caller is our parent, which made these bytes itself.
                self._analyses[name] = pickle.loads(content)  # noqa: S301
            except _FAILURES as error:
                expected = "expected a class of a module that a decoder can import, not of __main__ or a notebook"
                self._warn(name, TypeError(f"{expected}: {error}"))

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Add samples [frames, channels] to all analyses, which cannot write to them."""
        samples = block.view()
        samples.flags.writeable = False
        for name, analysis in tuple(self._analyses.items()):
            try:
                analysis.on_samples(samples, sample_rate_hz)
            except _FAILURES as error:
                del self._analyses[name]
                self._warn(name, error)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Return the tables by name as JSON values, without those of failed analyses."""
        tables = {}
        for name, analysis in self._analyses.items():
            try:
                tables[name] = table_to_json(_check_table(analysis.finish()))
            except _FAILURES as error:
                self._warn(name, error)
        return tables

    def _warn(self, name: str, error: BaseException) -> None:
        self.warnings.append(f"analysis '{name}' failed on it ({type(error).__name__}: {error}), and has no rows")


def build_table(columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> Table:
    """Build a table from columns of equal length, of numbers, booleans or strings.

    Raises:
        InputError: columns of different lengths.
    """
    arrays = {name: np.atleast_1d(values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{length} of {name!r}" for name, length in lengths.items())
        raise InputError(f"columns: expected as many values of each, got {got}.")
    n = max(lengths.values(), default=0)
    table = np.empty(n, [(name, values.dtype, values.shape[1:]) for name, values in arrays.items()])
    for name, values in arrays.items():
        table[name] = values
    return table


def _check_table(table: Table) -> Table:
    """Return what an analysis of any package gives as its table.

    Raises:
        TypeError: it is no structured array of one dimension, or a column has Python objects or fields of its own.
        InputError: a column has a reserved name.
    """
    expected = "expected a table as build_table() makes it, of one dimension with named columns"
    if not isinstance(table, np.ndarray) or table.dtype.names is None or table.ndim != 1:
        shape = f" of {table.dtype} and {table.ndim} dimensions" if isinstance(table, np.ndarray) else ""
        raise TypeError(f"{expected}, got {type(table).__name__}{shape}")
    for name in table.dtype.names:
        if table.dtype[name].hasobject or table.dtype[name].base.names is not None:
            raise TypeError(f"{expected} of numbers, booleans or strings, got {table.dtype[name]} in {name!r}")
        if name in RESERVED_COLUMNS:
            raise InputError(
                f"expected columns of other names than {name!r}, which every table of a run has. Rename it"
            )
    return table


def table_to_json(table: Table) -> dict[str, Any]:
    """Convert a table to JSON values."""
    return {"columns": table.dtype.descr, "rows": table.tobytes().hex()}


def table_from_json(fields: dict[str, Any]) -> Table:
    """Read the result of `table_to_json`."""
    columns = [(name, kind, *map(tuple, shape)) for name, kind, *shape in fields["columns"]]
    rows = bytes.fromhex(fields["rows"])
    return np.frombuffer(rows, columns) if rows else np.empty(0, columns)
