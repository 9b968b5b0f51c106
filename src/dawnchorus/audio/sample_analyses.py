"""Protocol of analyses of a recording's original samples, before mixing and resampling, and their tables."""

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
"""Structured array with a field for each column."""

RESERVED_COLUMNS = ("recording", "start_time")
"""Names of columns that are added to the table of an analysis, and which the analysis itself may not use."""


class SampleAnalysis(Protocol):
    """Protocol of an analysis of the samples of one recording, fed block by block; picklable before its first block.

    An exception of a method ends the analysis for this recording: it adds a warning, and there is no table.
    """

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Process a block of samples [frames, channels], full scale -1 to 1, which is read-only."""
        ...

    def finish(self) -> Table:
        """Return the table of the recording, after the last block: a structured array, as `build_table` makes it.

        Its columns must not have the names `RESERVED_COLUMNS`: "recording" and "start_time".
        """
        ...


class GuardedAnalysis:
    """Wrapper of a plug-in's analysis, whose errors name the plug-in; implements `SampleAnalysis`.

    A DawnChorusError of the analysis, and an OSError of the system, are raised unchanged.

    Args:
        plug_in: the plug-in.
        state: the plug-in's analysis of one recording.
    """

    def __init__(self, plug_in: PlugIn, state: SampleAnalysis) -> None:
        self._plug_in, self._state = plug_in, state

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Process a block of samples; see `SampleAnalysis.on_samples`.

        Raises:
            PlugInError: the analysis failed.
        """
        with self._plug_in.guard():
            self._state.on_samples(block, sample_rate_hz)

    def finish(self) -> Table:
        """Return the table of the recording.

        Raises:
            InputError: a column has a reserved name (`RESERVED_COLUMNS`).
            PlugInError: the analysis failed, or returned something else than a table.
        """
        with self._plug_in.guard():
            return check_rows(self._state.finish())


class SampleAnalyses:
    """Analyses of one recording by name; an analysis that fails adds a warning and has no table.

    Args:
        pickled: analyses by name, pickled by the parent process.

    Attributes:
        warnings: a sentence for each analysis that has failed so far.
    """

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
        """Pass a read-only view of samples [frames, channels] to all analyses."""
        samples = block.view()
        samples.flags.writeable = False
        for name, analysis in tuple(self._analyses.items()):
            try:
                analysis.on_samples(samples, sample_rate_hz)
            except PLUG_IN_FAILURES as error:
                del self._analyses[name]
                self._warn(name, error)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Return the tables by name of the analysis, as JSON values (`table_to_json`), without failed analyses."""
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
    """Build a table from columns of equal length by name, of numbers, booleans or strings.

    A single value is a column of one row; without columns, the table has no rows. The dtype of a column is that of its
    NumPy array.

    Raises:
        InputError: the columns have different lengths.
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
    """Check the table that an analysis returned for one recording, and return it.

    Raises:
        TypeError: the value is no table; see `check_table`.
        InputError: a column has a reserved name (`RESERVED_COLUMNS`).
    """
    for name in check_table(table).dtype.names or ():
        if name in RESERVED_COLUMNS:
            raise InputError(
                f"expected columns of other names than {name!r}, which every table of a run has. Rename it"
            )
    return table


def check_table(table: Table) -> Table:
    """Check the table that an analysis returned, and return it.

    Raises:
        TypeError: the value is not a structured array of one dimension, or a column has Python objects or nested
            fields.
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
    """Convert a table to JSON values, for another process: "columns" with names and types, "rows" in hexadecimal."""
    return {"columns": table.dtype.descr, "rows": table.tobytes().hex()}


def table_from_json(fields: dict[str, Any]) -> Table:
    """Return the table that `table_to_json` converted."""
    columns = [(name, kind, *map(tuple, shape)) for name, kind, *shape in fields["columns"]]
    rows = bytes.fromhex(fields["rows"])
    return np.frombuffer(rows, columns) if rows else np.empty(0, columns)
