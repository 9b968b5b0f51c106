"""Runs over units of an archive, batches of recordings that are committed together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

from dawnchorus.archive.manifest import Entry, Manifest, Shard, read_entries, unit_sizes
from dawnchorus.archive.schemas import MANIFEST
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.identification.result import RecordingFailure, RunCounts
from dawnchorus.storage.paths import can_list, folder_prefix
from dawnchorus.types import Report


class UnitRun(ABC):
    """Scoring of the units of a shard.

    Args:
        writer: writer of units to the archive.

    Attributes:
        counts: counts of the recordings so far; like the numbers below, 0 before `list_missing`.
        n_units: number of units in the shard.
        n_ended: number of committed units in the shard.
        n_failed_before: number of the failures in `counts` from earlier calls.
        failures: recordings that failed, in units that this run has committed.
    """

    def __init__(self, writer: UnitWriter) -> None:
        self.writer, self.worker = writer, writer.worker
        self.counts = RunCounts(0)
        self.n_units = self.n_ended = self.n_failed_before = 0
        self.failures: list[RecordingFailure] = []

    def process(self, manifests: Sequence[Manifest], shard: Shard, *, stage: str, report: Report) -> None:
        """Score and commit what is missing of a shard.

        Args:
            manifests: manifests with the units.
            shard: part of the units.
            stage: name of the stage in progress reports, such as "identifying".
            report: function that is called with the progress, in the caller's thread.

        Raises:
            ModelError, MissingExtraError, OutputError, StoreError: see `score`.
        """
        # Closed also where `report` raises: threads and decoders end now, not with the exception.
        with closing(self.score(self.list_missing(manifests, shard))) as steps:
            for counts in steps:
                report(counts.as_progress(stage))

    def list_missing(self, manifests: Sequence[Manifest], shard: Shard) -> list[list[Entry]]:
        """Return the shard's uncommitted units, each as the list of its recordings.

        Recordings of committed units are counted as done before. Sets `n_units`, `n_ended`, `n_failed_before` and
        `counts`.

        Raises:
            StoreError, FormatError: see `delta.ArchiveTable.reading`.
        """
        table = self.writer.archive.table(MANIFEST)
        units = shard.select(unit_sizes(table, manifests))
        entries = read_entries(table, manifests, units)
        committed = self.writer.list_committed()
        self.n_units, self.n_ended = len(units), len(committed.intersection(units))
        missing: dict[str, list[Entry]] = {}
        before: set[bytes] = set()
        for entry in entries:
            if entry.unit in committed:
                before.add(entry.file.path)
            else:
                missing.setdefault(entry.unit, []).append(entry)
        listed = [entry.file.path for entries in missing.values() for entry in entries]
        before.difference_update(listed)  # they were listed again
        failed = before & self.writer.list_failed() if before else set()
        folders = {path for path in failed if can_list(path)}  # they could not be listed then
        if folders:
            paths = before.union(listed)
            before -= {each for each in folders if any(path.startswith(folder_prefix(each)) for path in paths)}
        self._count_before(before, RunCounts(len(listed) + len(before)))
        return list(missing.values())

    def _count_before(self, paths: set[bytes], counts: RunCounts) -> None:
        """Add the recordings of units that were committed before to `counts`, those that failed as failures."""
        n_failed = len(paths & self.writer.list_failed()) if paths else 0
        self.n_failed_before += n_failed
        n_resumed = counts.n_resumed + len(paths) - n_failed
        self.counts = replace(counts, n_resumed=n_resumed, n_failed=counts.n_failed + n_failed)

    @abstractmethod
    def score(self, units: Iterable[Sequence[Entry]]) -> Generator[RunCounts, None, None]:
        """Score and commit units, and yield the counts at the start and after each step.

        Raises:
            ModelError: the model cannot be run, or its scores are not finite.
            MissingExtraError: a library that the model needs is not installed.
            OutputError: the archive cannot be written.
            StoreError: the archive's store failed.
        """


class WorkerRun(UnitRun):
    """Scoring of units by this process.

    Attributes:
        committed_counts: counts of the recordings in units that this process has committed; a crash does not lose them.
        committed_units: names of the units that this process has committed, or has found committed by another process
            when it was about to start them.
    """

    def __init__(self, writer: UnitWriter) -> None:
        super().__init__(writer)
        self.committed_counts = RunCounts(0)
        self.committed_units: list[str] = []

    def _is_left(self, entries: Sequence[Entry]) -> bool:
        """Return True if no process has committed a unit; otherwise count its recordings (`entries`) as done before."""
        unit = entries[0].unit
        if not self.writer.is_committed(unit):
            return True
        self._end(unit)
        self._count_before({entry.file.path for entry in entries}, self.counts)
        return False

    def _end(self, unit: str) -> None:
        self.n_ended += 1
        self.committed_units.append(unit)

    def _count_committed(self, unit: str, n_recordings: int, failures: Sequence[RecordingFailure], n_hits: int) -> None:
        """Record that this process has committed a unit with `n_hits` detections."""
        self._end(unit)
        self.failures += failures
        before = self.committed_counts
        self.committed_counts = replace(
            before,
            n_done=before.n_done + n_recordings - len(failures),
            n_failed=before.n_failed + len(failures),
            n_detections=before.n_detections + n_hits,
        )
