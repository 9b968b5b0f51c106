"""The results that count: those of units that have ended, one result of each recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.delta import Table

DONE, FAILED = "done", "failed"

_CURRENT_BIT, _DONE_BIT = 1 << 62, 1 << 61
"""Added to the id of a recording for its rank: a result of the file's latest version precedes those of earlier ones,
and of one version, a result precedes all failures."""

_COLUMNS = ["path", "run", "status", "recording_id", "attempt", "n_bytes", "version"]


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

    With `per_run=False`, it is the latest of each recording in any of `runs`. A recording that was scored stays so if a
    later run fails on it. If its file was replaced, the results of the file before do not count any more, also where
    the new one cannot be read.
    """
    is_named = None if runs is None else pa_dataset.field("run").isin(pa.array(list(runs), pa.string()))
    rows = recordings.read(_COLUMNS, is_named)
    is_best = _find_best(rows, ["path"] if runs is None or not per_run else ["path", "run"])
    attempts = _flat(rows.filter(is_best)["attempt"]).unique()
    is_other = pc.and_(pc.invert(is_best), pc.is_in(rows["attempt"], value_set=attempts))
    others = _flat(rows.filter(is_other)["recording_id"])
    return Selection(_flat(rows.filter(is_best)["recording_id"]), attempts, others)


def _find_best(rows: pa.Table, keys: list[str]) -> pa.ChunkedArray:
    """Return True for the row that counts of each recording, or of each value of `keys`."""
    rank = rows["recording_id"]
    for is_ahead, bit in ((_is_current(rows, keys), _CURRENT_BIT), (pc.equal(rows["status"], DONE), _DONE_BIT)):
        rank = pc.add(rank, pc.if_else(is_ahead, pa.scalar(bit, pa.int64()), pa.scalar(0, pa.int64())))
    best = rows.append_column("rank", rank).group_by(keys).aggregate([("rank", "max")])["rank_max"]
    return pc.is_in(rank, value_set=_flat(best))


def _is_current(rows: pa.Table, keys: list[str]) -> pa.ChunkedArray:
    """Return True for the rows of the latest version of each file, as its last listing has it.

    A file that was not there when it was listed has no size, and replaces no version.
    """
    listed = rows.filter(pc.is_valid(rows["n_bytes"]))
    latest = listed.group_by(keys).aggregate([("recording_id", "max")])["recording_id_max"]
    versions = _versions(listed.filter(pc.is_in(listed["recording_id"], value_set=_flat(latest))), keys)
    return pc.is_in(_versions(rows, keys), value_set=_flat(versions))


def _versions(rows: pa.Table, keys: list[str]) -> pa.ChunkedArray:
    """Return one value for each version of each file: keys, size and version, as bytes."""
    columns = [rows[name] for name in (*keys, "n_bytes", "version")]
    texts = [each if pa.types.is_binary(each.type) else each.cast(pa.string()).cast(pa.binary()) for each in columns]
    joined = pc.binary_join_element_wise(*texts, b"\0", null_handling="replace", null_replacement=b"")
    return joined if isinstance(joined, pa.ChunkedArray) else pa.chunked_array([joined])


def result_states(recordings: Table, run: str | None = None) -> pa.Table:
    """Return the columns `run`, `path` and `is_done` with one row for each recording of each run, or of one.

    A recording that was scored is done, whatever failed before or after, unless its file was replaced since.
    """
    condition = None if run is None else pa_dataset.field("run") == run
    rows = recordings.read(_COLUMNS, condition)
    rows = rows.filter(_find_best(rows, ["path", "run"]))
    return pa.table({"run": rows["run"], "path": rows["path"], "is_done": pc.equal(rows["status"], DONE)})


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
