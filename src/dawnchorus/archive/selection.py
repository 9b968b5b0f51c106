"""The results that count: those of units that have ended, one result of each recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.delta import Table

DONE, FAILED = "done", "failed"

_DONE_BIT = 1 << 62
"""Added to the id of a recording that was scored: such a result precedes all failures."""

_COLUMNS = ["path", "run", "status", "recording_id", "attempt"]


@dataclass(frozen=True)
class Selection:
    """Results that count.

    Attributes:
        recording_ids: numbers of the recordings [recordings].
        attempts: attempts with at least one of them; rows of others do not count.
        others: numbers of recordings of these attempts that do not count, since a later result does.
    """

    recording_ids: pa.Array
    attempts: pa.Array
    others: pa.Array

    @property
    def condition(self) -> pa_dataset.Expression:
        """Condition on the rows of any table of results."""
        condition = pa_dataset.field("attempt").isin(self.attempts)
        if len(self.others):
            condition &= ~pa_dataset.field("recording_id").isin(self.others)
        return condition


def select_results(recordings: Table, runs: Sequence[str] | None = None, *, per_run: bool = True) -> Selection:
    """Return the results that count: the latest of each recording, or of each recording in each of `runs`.

    With `per_run=False`, it is the latest of each recording in any of `runs`. A recording that was scored once stays
    so, if a later run fails on it.
    """
    is_named = None if runs is None else pa_dataset.field("run").isin(pa.array(list(runs), pa.string()))
    rows = recordings.read(_COLUMNS, is_named)
    is_done = pc.equal(rows["status"], DONE)
    rank = pc.add(rows["recording_id"], pc.if_else(is_done, pa.scalar(_DONE_BIT, pa.int64()), pa.scalar(0, pa.int64())))
    keys = ["path"] if runs is None or not per_run else ["path", "run"]
    best = rows.append_column("rank", rank).group_by(keys).aggregate([("rank", "max")])["rank_max"]
    is_best = pc.is_in(rank, value_set=_flat(best))
    attempts = _flat(rows.filter(is_best)["attempt"]).unique()
    is_other = pc.and_(pc.invert(is_best), pc.is_in(rows["attempt"], value_set=attempts))
    others = _flat(rows.filter(is_other)["recording_id"])
    return Selection(_flat(rows.filter(is_best)["recording_id"]), attempts, others)


def result_states(recordings: Table, run: str | None = None) -> pa.Table:
    """Return the columns `run`, `path` and `is_done` with one row for each recording of each run, or of one.

    A recording that was scored once is done, whatever failed before or after.
    """
    condition = None if run is None else pa_dataset.field("run") == run
    rows = recordings.read(["run", "path", "status"], condition)
    rows = rows.append_column("is_done", pc.equal(rows["status"], DONE))
    states = rows.group_by(["run", "path"]).aggregate([("is_done", "max")])
    return pa.table({"run": states["run"], "path": states["path"], "is_done": states["is_done_max"]})


def failed_paths(recordings: Table, run: str) -> frozenset[bytes]:
    """Return the paths of the recordings that failed in a run, and that no later result of it has superseded."""
    states = result_states(recordings, run)
    return frozenset(states.filter(pc.invert(states["is_done"]))["path"].to_pylist())


def committed_attempts(recordings: Table) -> dict[str, str]:
    """Return the attempt that ended each unit that has ended, by unit."""
    rows = recordings.read(["unit", "attempt"]).group_by(["unit", "attempt"]).aggregate([])
    return dict(zip(rows["unit"].to_pylist(), rows["attempt"].to_pylist(), strict=True))


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
