"""Selection of current results, those that are read: the latest result of each recording in a committed unit.

A unit is a batch of recordings that are committed together, and an attempt is one worker's try at a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.delta import ArchiveTable

DONE, FAILED = "done", "failed"

_CURRENT_BIT, _DONE_BIT = 1 << 62, 1 << 61
"""Bits that are added to a recording's id for its rank among results of the same file.

Results of the file's latest version rank above those of earlier versions; of one version, results rank above failures.
"""

_COLUMNS = ["path", "run", "status", "recording_id", "attempt", "n_bytes", "version"]


@dataclass(frozen=True)
class Selection:
    """Current results.

    Attributes:
        recording_ids: values of `recording_id` of the current results [results]; a recording that is listed again, or
            by another run, has another id there.
        attempts: names of the attempts with at least one current result [attempts].
        others: values of `recording_id` of results of these attempts that are not current, since another result of the
            recording is [n].
    """

    recording_ids: pa.Array
    attempts: pa.Array
    others: pa.Array

    @property
    def condition(self) -> pa_dataset.Expression:
        """Condition that selects the current rows in any table of results."""
        condition = pa_dataset.field("attempt").isin(self.attempts)
        if len(self.others):
            condition &= ~pa_dataset.field("recording_id").isin(self.others)
        return condition


def select_results(recordings: ArchiveTable, runs: Sequence[str] | None = None, *, per_run: bool = True) -> Selection:
    """Return the current results: the latest result of each recording.

    A failure is current only if the same version of the file was never scored: a later failure does not replace a
    score. If the file was replaced, results of the earlier version are no longer current, even if the new version could
    not be read. A file that was missing when it was listed does not count as a new version.

    Args:
        recordings: table of recordings.
        runs: ids of the runs to select from; None for the latest result in any run of the archive.
        per_run: True for the latest result in each of `runs`, False for the latest in any of them; without effect if
            `runs` is None.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    is_named = None if runs is None else pa_dataset.field("run").isin(pa.array(list(runs), pa.string()))
    rows = recordings.read(_COLUMNS, is_named)
    is_best = _find_best(rows, ["path"] if runs is None or not per_run else ["path", "run"])
    attempts = _flat(rows.filter(is_best)["attempt"]).unique()
    is_other = pc.and_(pc.invert(is_best), pc.is_in(rows["attempt"], value_set=attempts))
    others = _flat(rows.filter(is_other)["recording_id"])
    return Selection(_flat(rows.filter(is_best)["recording_id"]), attempts, others)


def _find_best(rows: pa.Table, keys: list[str]) -> pa.ChunkedArray:
    """Return the mask of current rows; of rows with equal values in the columns `keys`, one is current."""
    rank = rows["recording_id"]
    for is_ahead, bit in ((_is_current(rows, keys), _CURRENT_BIT), (pc.equal(rows["status"], DONE), _DONE_BIT)):
        rank = pc.add(rank, pc.if_else(is_ahead, pa.scalar(bit, pa.int64()), pa.scalar(0, pa.int64())))
    best = rows.append_column("rank", rank).group_by(keys).aggregate([("rank", "max")])["rank_max"]
    return pc.is_in(rank, value_set=_flat(best))


def _is_current(rows: pa.Table, keys: list[str]) -> pa.ChunkedArray:
    """Return the mask of rows for the latest version of each file, by the file's last manifest.

    A file that did not exist when it was listed has no size, and does not replace a version.
    """
    listed = rows.filter(pc.is_valid(rows["n_bytes"]))
    latest = listed.group_by(keys).aggregate([("recording_id", "max")])["recording_id_max"]
    versions = _versions(listed.filter(pc.is_in(listed["recording_id"], value_set=_flat(latest))), keys)
    return pc.is_in(_versions(rows, keys), value_set=_flat(versions))


def _versions(rows: pa.Table, keys: list[str]) -> pa.ChunkedArray:
    """Return a value that is equal for rows of the same version of a file: keys, size and version, as bytes."""
    columns = [rows[name] for name in (*keys, "n_bytes", "version")]
    texts = [each if pa.types.is_binary(each.type) else each.cast(pa.string()).cast(pa.binary()) for each in columns]
    joined = pc.binary_join_element_wise(*texts, b"\0", null_handling="replace", null_replacement=b"")
    return joined if isinstance(joined, pa.ChunkedArray) else pa.chunked_array([joined])


def result_states(recordings: ArchiveTable, run: str | None = None) -> pa.Table:
    """Return a table with the columns `run`, `path` and `is_done`, one row for each recording of each run.

    `path` is `ListedFile.path`. `is_done` is True if the latest version of the recording's file was scored, even if
    another attempt failed; False if all attempts at that version failed. `run` is the id of a run, to include only this
    run; None for all runs.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    condition = None if run is None else pa_dataset.field("run") == run
    rows = recordings.read(_COLUMNS, condition)
    rows = rows.filter(_find_best(rows, ["path", "run"]))
    return pa.table({"run": rows["run"], "path": rows["path"], "is_done": pc.equal(rows["status"], DONE)})


def failed_paths(recordings: ArchiveTable, run: str) -> frozenset[bytes]:
    """Return the paths (`ListedFile.path`) of the recordings whose current result in the run with the id `run` failed.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    states = result_states(recordings, run)
    return frozenset(states.filter(pc.invert(states["is_done"]))["path"].to_pylist())


def committed_attempts(recordings: ArchiveTable) -> dict[str, str]:
    """Return the name of the committed attempt of each committed unit, by name of the unit.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    rows = recordings.read(["unit", "attempt"]).group_by(["unit", "attempt"]).aggregate([])
    return dict(zip(rows["unit"].to_pylist(), rows["attempt"].to_pylist(), strict=True))


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
