"""Maintenance of an archive: contents, checks, compaction, and removal of rows that were not committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.archive import Archive
from dawnchorus.archive.delta import ArchiveTable
from dawnchorus.archive.manifest import list_manifests, unit_sizes
from dawnchorus.archive.schemas import (
    ANALYSIS_PREFIX,
    DETECTIONS,
    MANIFEST,
    RECORDINGS,
    RESULTS,
    SCHEMAS,
)
from dawnchorus.archive.selection import committed_attempts, result_states
from dawnchorus.archive.sign_index import drop_unused
from dawnchorus.archive.workers import WorkerState, one_writer, read_workers
from dawnchorus.archive.writer import SORTED_BY, attempt_transaction

KEEP_FILES_H = 168.0
"""Hours after which files that compaction has replaced are removed; until then, readers and writers may use them."""

ROWS_AT_A_TIME = 2_000_000
"""Number of rows that compaction sorts in memory at a time, unless one species has more in a month."""


@dataclass(frozen=True)
class TableSize:
    """Size of a table.

    Attributes:
        name: name of the table.
        n_rows: number of rows, including rows that are not read because they are superseded or not committed.
        n_files: number of data files.
        n_bytes: size of the data files in bytes.
    """

    name: str
    n_rows: int
    n_files: int
    n_bytes: int


@dataclass(frozen=True)
class RunState:
    """Progress of a run in units, batches of recordings that are committed together.

    Attributes:
        run: id of the run.
        model: name and version of the model.
        n_units: number of units in all manifests of the run.
        n_ended: number of committed units.
        running: names of the units that a worker is processing.
        lost: names of uncommitted units whose worker is lost: no heartbeat for `LOST_AFTER_S` seconds.
        n_bytes: size in bytes of the recordings in all units.
        ended_bytes: size in bytes of the recordings in committed units.
        n_recordings: number of recordings in committed units, each counted once.
        n_failed: number of these recordings whose current result is a failure.
    """

    run: str
    model: str
    n_units: int
    n_ended: int
    running: tuple[str, ...]
    lost: tuple[str, ...]
    n_bytes: int
    ended_bytes: int
    n_recordings: int
    n_failed: int

    @property
    def n_waiting(self) -> int:
        """Number of units that are neither committed, nor in `running` or `lost`."""
        return self.n_units - self.n_ended - len(self.running) - len(self.lost)


@dataclass(frozen=True)
class CheckReport:
    """Result of `check_archive`; a unit is a batch of recordings, and an attempt one worker's try at a unit.

    Attributes:
        uncommitted: number of rows of uncommitted units, by name of the attempt.
        surplus: number of rows of committed units from attempts other than the committed one, by name of the attempt.
        missing: stored and expected number of detections, in this order, by name of the committed attempt; only
            attempts for which the two numbers differ.
        repeated: ids of recordings that are in the table of recordings more than once.
    """

    uncommitted: dict[str, int]
    surplus: dict[str, int]
    missing: dict[str, tuple[int, int]]
    repeated: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """True if `missing` and `repeated` are empty; queries ignore the rows in `uncommitted` and `surplus`."""
        return not self.missing and not self.repeated


def measure_tables(archive: Archive) -> list[TableSize]:
    """Return the size of each table, in alphabetical order.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    sizes = []
    for name in archive.location.list_tables():
        files = archive.table(name).list_files()
        sizes.append(
            TableSize(name, sum(f.n_rows or 0 for f in files), len(files), sum(file.n_bytes for file in files))
        )
    return sizes


def read_status(archive: Archive) -> tuple[list[RunState], list[WorkerState]]:
    """Return the progress of each run, in the order of `Archive.runs`, and the states of the workers (`read_workers`).

    The units of a worker are those that no worker has committed.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
        InputError: the file of a worker cannot be read.
    """
    workers = read_workers(archive.location)
    manifest, recordings = archive.table(MANIFEST), archive.table(RECORDINGS)
    listings = list_manifests(manifest)
    results = result_states(recordings)
    counts = Counter(zip(results["run"].to_pylist(), results["is_done"].to_pylist(), strict=True))
    committed = set(committed_attempts(recordings))
    states = []
    for each in archive.runs():
        sizes = unit_sizes(manifest, [listing for listing in listings if listing.run == each.id])
        left = sizes.keys() - committed
        running = {unit for worker in workers if not worker.is_lost for unit in worker.units} & left
        lost = {unit for worker in workers if worker.is_lost for unit in worker.units} & left - running
        states.append(
            RunState(
                run=each.id,
                model=f"{each.run.model} {each.run.model_version}",
                n_units=len(sizes),
                n_ended=len(sizes) - len(left),
                running=tuple(sorted(running)),
                lost=tuple(sorted(lost)),
                n_bytes=sum(sizes.values()),
                ended_bytes=sum(size for unit, size in sizes.items() if unit not in left),
                n_recordings=counts[each.id, True] + counts[each.id, False],
                n_failed=counts[each.id, False],
            )
        )
    # Units that others have done are no work of a lost worker.
    return states, [
        replace(each, units=tuple(unit for unit in each.units if unit not in committed)) for each in workers
    ]


def check_archive(archive: Archive) -> CheckReport:
    """Check an archive for missing or duplicated rows, by comparing its tables.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    # Results first: what ends meanwhile has all of its rows then.
    counts = {name: archive.table(name).count_values("attempt") for name in _result_tables(archive)}
    recordings = archive.table(RECORDINGS)
    rows = recordings.read(["recording_id", "attempt", "n_detections"])
    committed = committed_attempts(recordings)
    winners = set(committed.values())
    uncommitted: Counter[str] = Counter()
    surplus: Counter[str] = Counter()
    for counted in counts.values():
        for attempt, n_rows in counted.items():
            if attempt not in winners:
                (surplus if _unit_of(attempt) in committed else uncommitted)[attempt] += n_rows
    expected = rows.group_by("attempt").aggregate([("n_detections", "sum")])
    missing = {}
    for attempt, n_rows in zip(expected["attempt"].to_pylist(), expected["n_detections_sum"].to_pylist(), strict=True):
        n_there = counts.get(DETECTIONS, Counter())[attempt]
        if n_there != (n_rows or 0):
            missing[attempt] = (n_there, n_rows or 0)
    # Units that ended after the counting are no fault.
    missing = {} if not missing else _count_again(archive, missing)
    ids = Counter(rows["recording_id"].to_pylist())
    repeated = tuple(sorted(each for each, n in ids.items() if n > 1))
    return CheckReport(dict(uncommitted), dict(surplus), missing, repeated)


def _count_again(archive: Archive, missing: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    counted = archive.table(DETECTIONS).count_values("attempt")
    return {attempt: (counted[attempt], n) for attempt, (_, n) in missing.items() if counted[attempt] != n}


def compact_archive(archive: Archive) -> Iterator[tuple[str, int, int]]:
    """Merge the data files of each table, as the result is iterated over.

    For each table, in alphabetical order, yield its name, and its number of data files before and after.

    Detections are also sorted by species and site; those of attempts at a unit that another attempt has committed are
    removed. Other processes may read and write meanwhile.

    Raises:
        OutputError: a table cannot be written.
        BusyError: another process writes to a store that allows only one writer.
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    with one_writer(archive.location, "compaction"):
        for name in archive.location.list_tables():
            table = archive.table(name)
            n_before = len(table.list_files())
            if name == DETECTIONS:
                _sort_months(archive, table)
            elif n_before > 1:
                table.compact()
            table.checkpoint()
            yield name, n_before, len(archive.table(name).list_files())
        drop_unused(archive.location)


def _sort_months(archive: Archive, table: ArchiveTable) -> None:
    committed = committed_attempts(archive.table(RECORDINGS))
    field = pa_dataset.field
    counts = field("attempt").isin(pa.array(list(committed.values()), pa.string()))
    is_open = ~field("unit").isin(pa.array(list(committed), pa.string()))
    for month in sorted({file.month or "" for file in table.list_files()}):
        table.refresh()
        files = [file for file in table.list_files() if file.month == month]
        if len(files) > 1:
            table.replace_files(files, _sorted_rows(table, (field("month") == month) & (counts | is_open)))


def _sorted_rows(table: ArchiveTable, condition: pa_dataset.Expression) -> Iterator[pa.Table]:
    """Yield the rows that meet a condition, ordered by species, with some species in memory at a time."""
    dataset = table.dataset()
    names: Counter[str] = Counter()
    for batch in table.scan(["scientific_name"], condition):
        counted = batch.column(0).value_counts()
        names.update(dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)))
    for group in _group_species(names):
        is_in = pa_dataset.field("scientific_name").isin(pa.array(group, pa.string()))
        yield dataset.to_table(filter=condition & is_in).sort_by(SORTED_BY)


def _group_species(n_rows: Counter[str]) -> Iterator[list[str]]:
    """Yield the names in order, in groups of about `ROWS_AT_A_TIME` rows; `n_rows` has the rows by name."""
    group: list[str] = []
    n_grouped = 0
    for name in sorted(n_rows):
        if group and n_grouped + n_rows[name] > ROWS_AT_A_TIME:
            yield group
            group, n_grouped = [], 0
        group.append(name)
        n_grouped += n_rows[name]
    if group:
        yield group


@dataclass(frozen=True)
class VacuumReport:
    """Result of `vacuum_archive`.

    Attributes:
        n_rows: number of removed rows.
        n_files: number of removed files: data files that no table used any more, and files that searches derived from
            them.
        kept: names of attempts at uncommitted units whose rows stay, since their workers are alive.
    """

    n_rows: int
    n_files: int
    kept: tuple[str, ...]


def vacuum_archive(archive: Archive, *, older_than_h: float = KEEP_FILES_H) -> VacuumReport:
    """Remove rows of attempts that were not committed, and unused files.

    Rows of an uncommitted unit stay if the attempt's worker is alive; committed results stay, also if a later result
    of the recording is current. Data files are removed once they have been unused for `older_than_h` hours. Files that
    searches derived from data files that are no longer used, and the heartbeat files of lost workers, are removed at
    once.

    Raises:
        OutputError: a table cannot be written.
        BusyError: another process writes to a store that allows only one writer.
        InputError: the file of a worker cannot be read.
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    with one_writer(archive.location, "vacuum"):
        return _vacuum(archive, older_than_h)


def _vacuum(archive: Archive, older_than_h: float) -> VacuumReport:
    report = check_archive(archive)
    workers = read_workers(archive.location)
    alive = {worker.id for worker in workers if not worker.is_lost}
    kept = {attempt for attempt in report.uncommitted if attempt.partition("-")[0] in alive}
    removed = report.surplus | {
        attempt: n
        for attempt, n in report.uncommitted.items()
        if attempt not in kept and _end_attempt(archive, attempt)
    }
    if removed:
        for name in _result_tables(archive):
            _delete_attempts(archive.table(name), sorted(removed))
    for worker in workers:
        if worker.is_lost:
            archive.location.remove(f"workers/{worker.id}.json")
    n_files = 0
    for name in archive.location.list_tables():
        n_files += len(archive.table(name).remove_unused_files(older_than_h=older_than_h))
    n_files += drop_unused(archive.location)
    return VacuumReport(sum(removed.values()), n_files, tuple(sorted(kept)))


def _end_attempt(archive: Archive, attempt: str) -> bool:
    """Prevent a worker's attempt from being committed; return False if it has been committed in the meantime."""
    recordings = archive.table(RECORDINGS)
    if recordings.append(SCHEMAS[RECORDINGS].empty_table(), {attempt_transaction(attempt): 1}):
        return True
    return attempt not in committed_attempts(recordings).values()  # else an earlier vacuum did, and died


MAX_NAMED = 200
"""Maximum number of attempts in one SQL condition."""


def _delete_attempts(table: ArchiveTable, attempts: Sequence[str]) -> None:
    for first in range(0, len(attempts), MAX_NAMED):
        names = ", ".join(f"'{attempt}'" for attempt in attempts[first : first + MAX_NAMED])
        table.delete(f"attempt IN ({names})")


def _unit_of(attempt: str) -> str:
    return attempt.partition("-")[2]


def _result_tables(archive: Archive) -> list[str]:
    tables = archive.location.list_tables()
    return [name for name in tables if name in RESULTS or name.startswith(ANALYSIS_PREFIX)]
