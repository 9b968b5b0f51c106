"""Writing of units into an archive, each exactly once."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.archive import Archive
from dawnchorus.archive.delta import Table
from dawnchorus.archive.schemas import DETECTIONS, RECORDINGS
from dawnchorus.archive.selection import committed_attempts, failed_paths
from dawnchorus.archive.workers import Worker
from dawnchorus.errors import OutputError

SORTED_BY = [(name, "ascending") for name in ("scientific_name", "site", "recording_id", "start_s")]
"""Order of detections in files: those of a species lie together."""


def unit_transaction(unit: str) -> str:
    """Return the transaction that ends a unit."""
    return f"unit-{unit}"


def attempt_transaction(attempt: str) -> str:
    """Return the transaction that ends an attempt at a unit: by its writer, or by a vacuum that removes its rows."""
    return f"attempt-{attempt}"


class UnitWriter:
    """Writer of one worker's units, batches of recordings that are committed as a whole.

    All rows of a unit carry the name of the attempt. The rows of recordings are committed last, in a transaction that
    only one attempt at the unit can win: it alone decides which rows count. So a process may die at any time, and any
    number of them may try the same unit.

    Args:
        archive: the archive.
        worker: this process.
    """

    def __init__(self, archive: Archive, worker: Worker) -> None:
        self.archive, self.worker = archive, worker
        self._recordings = archive.table(RECORDINGS)
        self._results: dict[str, Table] = {}
        """Tables of results, kept open: of one with many commits, opening reads all of them."""

    def list_ended(self) -> set[str]:
        """Return the units that have ended."""
        self._recordings.refresh()
        return set(committed_attempts(self._recordings))

    def list_failed(self) -> frozenset[bytes]:
        """Return the paths of the recordings that failed in this run, in units that have ended."""
        return failed_paths(self._recordings, self.worker.run)

    def has_ended(self, unit: str) -> bool:
        """Return True if the unit has ended by now."""
        self._recordings.refresh()
        return self._recordings.has_transaction(unit_transaction(unit))

    def commit(self, unit: str, recordings: pa.Table, results: Mapping[str, pa.Table]) -> bool:
        """Write a unit: the results by table, and then its recordings.

        Returns False if another attempt has ended it; then the rows of this one do not count, and are deleted.

        Raises:
            OutputError: it cannot be written.
        """
        if self.has_ended(unit):
            return False
        attempt = self.worker.attempt(unit)
        for name, rows in results.items():
            if len(rows):
                rows_in_order = rows.sort_by(SORTED_BY) if name == DETECTIONS else rows
                # With a transaction, so that a commit whose reply was lost is not made again.
                self._result_table(name).append(rows_in_order, {attempt_transaction(attempt): 1})
        ends = {unit_transaction(unit): 1, attempt_transaction(attempt): 1}
        # A store may have made the commit though its reply was lost, or a later try was refused.
        if self._recordings.append(recordings, ends) or self._has_ended_with(unit, attempt):
            return True
        self._delete(attempt, results)
        return False

    def _result_table(self, name: str) -> Table:
        return self._results.setdefault(name, self.archive.table(name))

    def _has_ended_with(self, unit: str, attempt: str) -> bool:
        is_of_unit = pa_dataset.field("unit") == unit
        return attempt in self._recordings.read(["attempt"], is_of_unit)["attempt"].to_pylist()

    def _delete(self, attempt: str, results: Mapping[str, pa.Table]) -> None:
        for name, rows in results.items():
            if len(rows):
                try:
                    self._result_table(name).delete(f"attempt = '{attempt}'")
                except OutputError:
                    return  # they do not count, and the next vacuum removes them
