"""Analyses of a recording's original samples, before mixing and resampling."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InputError, PlugInError
from dawnchorus.plug_ins import PLUG_IN_FAILURES, PlugIn, describe_failure

Table = npt.NDArray[np.void]
"""Rows of a structured array, whose fields are the columns."""

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


class GuardedAnalysis:
    """State of another package's analysis, whose failures name the package; implements `SampleAnalysis`."""

    def __init__(self, plug_in: PlugIn, state: SampleAnalysis) -> None:
        self._plug_in, self._state = plug_in, state

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Add samples; see `SampleAnalysis`."""
        with self._plug_in.guard():
            self._state.on_samples(block, sample_rate_hz)

    def finish(self) -> Table:
        """Return the table of the recording.

        Raises:
            InputError: a column has a reserved name.
            PlugInError: the analysis failed, or returned no table.
        """
        with self._plug_in.guard():
            return check_rows(self._state.finish())


class SampleAnalyses:
    """Analyses of one recording by name; one that fails adds a warning and has no table."""

    def __init__(self, pickled: Mapping[str, bytes]) -> None:
        self.warnings: list[str] = []
        self._analyses: dict[str, SampleAnalysis] = {}
        for name, content in pickled.items():
            try:
                # The caller is our parent, which made these bytes itself.
                self._analyses[name] = pickle.loads(content)  # noqa: S301
            except PLUG_IN_FAILURES as error:
                expected = "expected a class of a module that a decoder can import, not of __main__ or a notebook"
                self._warn(name, TypeError(f"{expected}: {error}"))

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Add samples [frames, channels] to all analyses, which cannot write to them."""
        samples = block.view()
        samples.flags.writeable = False
        for name, analysis in tuple(self._analyses.items()):
            try:
                analysis.on_samples(samples, sample_rate_hz)
            except PLUG_IN_FAILURES as error:
                del self._analyses[name]
                self._warn(name, error)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Return the tables by name as JSON values, without those of failed analyses."""
        tables = {}
        for name, analysis in self._analyses.items():
            try:
                tables[name] = table_to_json(check_rows(analysis.finish()))
            except PLUG_IN_FAILURES as error:
                self._warn(name, error)
        return tables

    def _warn(self, name: str, error: BaseException) -> None:
        who, detail = f"analysis '{name}'", describe_failure(error)
        if isinstance(error, PlugInError):
            who, detail = error.plug_in, error.detail
        self.warnings.append(f"{who} failed on it ({detail}), and has no rows")


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


def check_rows(table: Table) -> Table:
    """Return the table of a recording of any package's analysis.

    Raises:
        TypeError: see `check_table`.
        InputError: a column has a reserved name.
    """
    for name in check_table(table).dtype.names or ():
        if name in RESERVED_COLUMNS:
            raise InputError(
                f"expected columns of other names than {name!r}, which every table of a run has. Rename it"
            )
    return table


def check_table(table: Table) -> Table:
    """Return a table of any package's analysis.

    Raises:
        TypeError: it is no structured array of one dimension, or a column has Python objects or fields of its own.
    """
    expected = "expected a table as build_table() makes it, of one dimension with named columns"
    if not isinstance(table, np.ndarray) or table.dtype.names is None or table.ndim != 1:
        shape = f" of {table.dtype} and {table.ndim} dimensions" if isinstance(table, np.ndarray) else ""
        raise TypeError(f"{expected}, got {type(table).__name__}{shape}")
    for name in table.dtype.names:
        if table.dtype[name].hasobject or table.dtype[name].base.names is not None:
            raise TypeError(f"{expected} of numbers, booleans or strings, got {table.dtype[name]} in {name!r}")
    return table


def table_to_json(table: Table) -> dict[str, Any]:
    """Convert a table to JSON values."""
    return {"columns": table.dtype.descr, "rows": table.tobytes().hex()}


def table_from_json(fields: dict[str, Any]) -> Table:
    """Read the result of `table_to_json`."""
    columns = [(name, kind, *map(tuple, shape)) for name, kind, *shape in fields["columns"]]
    rows = bytes.fromhex(fields["rows"])
    return np.frombuffer(rows, columns) if rows else np.empty(0, columns)
