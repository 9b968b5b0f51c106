"""Writing of units, batches of recordings that are committed together, into an archive, each exactly once."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.archive import Archive
from dawnchorus.archive.delta import ArchiveTable
from dawnchorus.archive.schemas import DETECTIONS, RECORDINGS
from dawnchorus.archive.selection import committed_attempts, failed_paths
from dawnchorus.archive.workers import Worker
from dawnchorus.errors import OutputError

SORTED_BY = [(name, "ascending") for name in ("scientific_name", "site", "recording_id", "start_s")]
"""Order of the rows in files of detections, in which the rows of a species are together."""


def unit_transaction(unit: str) -> str:
    """Return the name of the transaction that commits a unit, a batch of recordings; `unit` is the unit's name."""
    return f"unit-{unit}"


def attempt_transaction(attempt: str) -> str:
    """Return the name of the transaction that ends an attempt, one worker's try at a unit; `attempt` is its name.

    The attempt's commits to the tables have this transaction. A table accepts a transaction only once. So a vacuum that
    removes the rows of an uncommitted attempt first adds the transaction to the table of recordings: the attempt cannot
    be committed any more.
    """
    return f"attempt-{attempt}"


class UnitWriter:
    """Writer of one worker's units, batches of recordings that are committed as a whole.

    All rows of a unit have the name of the attempt, one worker's try at the unit. The rows of recordings are committed
    last, in a transaction that only one attempt at the unit can win; only the rows of this attempt are read. So a
    process may die at any time, and several may process the same unit.

    Args:
        archive: the archive.
        worker: this process, with the id of its run.
    """

    def __init__(self, archive: Archive, worker: Worker) -> None:
        self.archive, self.worker = archive, worker
        self._recordings = archive.table(RECORDINGS)
        self._results: dict[str, ArchiveTable] = {}
        """Tables of results, kept open: of one with many commits, opening reads all of them."""

    def list_committed(self) -> set[str]:
        """Return the names of the units that any worker of any run has committed.

        Raises:
            StoreError, FormatError: see `delta.ArchiveTable.reading`.
        """
        self._recordings.refresh()
        return set(committed_attempts(self._recordings))

    def list_failed(self) -> frozenset[bytes]:
        """Return the paths (`ListedFile.path`) of the recordings that failed in this worker's run, in committed units.

        Raises:
            StoreError, FormatError: see `delta.ArchiveTable.reading`.
        """
        return failed_paths(self._recordings, self.worker.run)

    def is_committed(self, unit: str) -> bool:
        """Return True if the unit with the name `unit` has been committed by any worker.

        Raises:
            StoreError, FormatError: see `delta.ArchiveTable.reading`.
        """
        self._recordings.refresh()
        return self._recordings.has_transaction(unit_transaction(unit))

    def commit(self, unit: str, recordings: pa.Table, results: Mapping[str, pa.Table]) -> bool:
        """Commit a unit: first the results, and then the recordings.

        Returns True if this attempt has committed the unit. Returns False if another attempt has, or if a vacuum has
        ended this attempt, as its worker seemed lost; the rows of this attempt are then deleted.

        Args:
            unit: name of the unit.
            recordings: rows for the table of recordings.
            results: rows for other tables, by name of the table; tables without rows are not written.

        Raises:
            OutputError: the archive cannot be written.
            StoreError, FormatError: see `delta.ArchiveTable.reading`.
        """
        if self.is_committed(unit):
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

    def _result_table(self, name: str) -> ArchiveTable:
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
