"""Analyses of a recording's original samples, before mixing and resampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray

Table = npt.NDArray[np.void]
"""Rows of a structured array, whose fields are the columns."""


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

    def __init__(self, analyses: Mapping[str, SampleAnalysis]) -> None:
        self.warnings: list[str] = []
        self._analyses = dict(analyses)

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Add samples [frames, channels] to all analyses."""
        for name, analysis in tuple(self._analyses.items()):
            try:
                analysis.on_samples(block, sample_rate_hz)
            except Exception as error:  # noqa: BLE001 - another package's can fail in any way
                self._drop(name, error)

    def finish(self) -> dict[str, Table]:
        """Return the tables by name, without those of failed analyses."""
        tables = {}
        for name, analysis in tuple(self._analyses.items()):
            try:
                tables[name] = analysis.finish()
            except Exception as error:  # noqa: BLE001 - see on_samples
                self._drop(name, error)
        return tables

    def _drop(self, name: str, error: Exception) -> None:
        del self._analyses[name]
        self.warnings.append(f"analysis '{name}' failed on it ({type(error).__name__}: {error}), and has no rows")


def build_table(columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> Table:
    """Build a table from columns of equal length, of numbers, booleans or strings."""
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    n = len(next(iter(arrays.values()))) if arrays else 0
    table = np.empty(n, [(name, values.dtype, values.shape[1:]) for name, values in arrays.items()])
    for name, values in arrays.items():
        table[name] = values
    return table


def table_to_json(table: Table) -> dict[str, Any]:
    """Convert a table to JSON values."""
    return {"columns": table.dtype.descr, "rows": table.tobytes().hex()}


def table_from_json(fields: dict[str, Any]) -> Table:
    """Read the result of `table_to_json`."""
    columns = [(name, kind, *map(tuple, shape)) for name, kind, *shape in fields["columns"]]
    rows = bytes.fromhex(fields["rows"])
    return np.frombuffer(rows, columns) if rows else np.empty(0, columns)
