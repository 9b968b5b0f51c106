"""Selection of embeddings for a search: current results (see `selection`) that meet the filters of the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.schemas import DETECTIONS
from dawnchorus.archive.selection import select_results

if TYPE_CHECKING:
    from dawnchorus.archive.archive import Archive, Names, Time
    from dawnchorus.archive.delta import ArchiveTable
    from dawnchorus.archive.sign_index import Block

VOICE_MARGIN_S = 1.0
"""Distance in seconds from a window within which speech would be audible in the window's clip."""

_TOUCHING_S = 1e-3
"""Minimum overlap in seconds of a window and a detection; rounding errors of their times are smaller."""

_CLOCK_DIGITS = len("2026-05-01T04:00:00.000")

Ids = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]

_field = pa_dataset.field


@dataclass(frozen=True)
class Spans:
    """Time spans in recordings, placed on one common time axis, on which each recording has a slot.

    Attributes:
        slot_s: length of a recording's slot in seconds, longer than any recording.
        starts_s: starts of the spans on the axis in seconds [spans], in ascending order.
        latest_s: running maximum of the spans' ends on the axis in seconds, preceded by -infinity [spans + 1].
    """

    slot_s: float
    starts_s: Seconds
    latest_s: Seconds

    @classmethod
    def create(cls, recordings: npt.NDArray[np.intp], starts_s: Seconds, ends_s: Seconds, *, longest_s: float) -> Spans:
        """Create time spans, given in any order.

        Args:
            recordings: index of each span's recording, from 0 [spans].
            starts_s: start of each span, in seconds from the start of its recording [spans].
            ends_s: end of each span, in seconds from the start of its recording [spans].
            longest_s: upper bound in seconds of all ends, those of the spans and those of windows in `overlap`.
        """
        slot_s = 1.0 + longest_s
        order = np.lexsort((starts_s, recordings))
        starts_s, ends_s = ((each + recordings * slot_s)[order] for each in (starts_s, ends_s))
        return cls(slot_s, starts_s, np.maximum.accumulate(np.append(-np.inf, ends_s)))

    def overlap(self, recordings: npt.NDArray[np.intp], starts_s: Seconds, ends_s: Seconds) -> npt.NDArray[np.bool_]:
        """Return the mask [windows] of the windows that overlap a span of their recording by more than 1 ms.

        `recordings`, `starts_s` and `ends_s` are those of the windows [windows], in the form that `create` describes.
        """
        shift_s = recordings * self.slot_s
        n_before = np.searchsorted(self.starts_s, ends_s + shift_s - _TOUCHING_S)
        overlaps: npt.NDArray[np.bool_] = self.latest_s[n_before] > starts_s + shift_s + _TOUCHING_S
        return overlaps


@dataclass(frozen=True)
class RowFilter:
    """Filter for rows of embeddings.

    Attributes:
        attempts: names of attempts with current results; an attempt is one worker's try at a batch of recordings.
        others: values of `recording_id` in rows of these attempts that are not current, since another result of the
            recording is [n]; in ascending order.
        recordings: values of `recording_id` to select [recordings], in ascending order; None for all, and then the
            three fields below are None, too.
        since_s: earliest start of selected windows, in seconds from the start of each of `recordings` [recordings];
            None for any start.
        until_s: time before which selected windows start, in seconds from the start of each of `recordings`
            [recordings]; None for any start.
        spans: time spans that selected windows must overlap, whose recordings are indices into `recordings`; None to
            select windows without regard to spans.
    """

    attempts: frozenset[str]
    others: Ids
    recordings: Ids | None = None
    since_s: Seconds | None = None
    until_s: Seconds | None = None
    spans: Spans | None = None
    _counting: dict[tuple[str, ...], npt.NDArray[np.bool_]] = field(default_factory=dict, compare=False)

    def rows(self, block: Block) -> npt.NDArray[np.intp]:
        """Return the indices of the rows of a block that are current and match the filter [n], in ascending order."""
        counts = self._counting.get(block.attempts)
        if counts is None:
            counts = np.array([name in self.attempts for name in block.attempts], bool)
            self._counting[block.attempts] = counts
        is_kept = counts[block.column("attempt")]
        if len(self.others):
            is_kept &= ~np.isin(block.column("recording_id"), self.others)
        rows = np.flatnonzero(is_kept)
        return rows if self.recordings is None or not len(rows) else self._select(block, rows, self.recordings)

    def _select(self, block: Block, rows: npt.NDArray[np.intp], known: Ids) -> npt.NDArray[np.intp]:
        """Return those of `rows` that belong to the recordings `known`, and meet the conditions on time."""
        if not len(known):
            return rows[:0]
        ids = block.column("recording_id")[rows]
        number = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        starts_s = block.column("start_s")[rows]
        is_kept = known[number] == ids
        if self.since_s is not None:
            is_kept &= starts_s >= self.since_s[number]
        if self.until_s is not None:
            is_kept &= starts_s < self.until_s[number]
        if self.spans is not None:
            is_kept &= self.spans.overlap(number, starts_s, block.column("end_s")[rows])
        selected: npt.NDArray[np.intp] = rows[is_kept]
        return selected


def find_windows(
    archive: Archive,
    table: ArchiveTable,
    runs: Sequence[str],
    *,
    species: Names | None = None,
    sites: Names | None = None,
    since: Time | None = None,
    until: Time | None = None,
    min_score: float,
) -> RowFilter:
    """Return the filter for current embeddings: of each recording, those of its latest result in any of `runs`.

    Windows without a time are left out if `since` or `until` is given.

    Args:
        archive: the archive.
        table: the archive's table of recordings.
        runs: ids of the runs.
        species: scientific or common names; windows must overlap a detection of one of these species by any run. None
            for all windows.
        sites: names of sites; None for all.
        since: earliest start of a window by the recorder's clock, as in `Archive.detections`; None for any time.
        until: time before which windows start; None for any time.
        min_score: minimum score of the detections of `species`.

    Raises:
        InputError: an unknown species, or a time in another format.
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    from dawnchorus.archive.archive import is_in, list_names

    selection = select_results(table, runs, per_run=False)
    attempts, others = frozenset(selection.attempts.to_pylist()), np.sort(_to_numpy(selection.others))
    if species is None and sites is None and since is None and until is None:
        return RowFilter(attempts, others)
    condition = selection.condition if sites is None else selection.condition & is_in("site", list_names(sites))
    rows = table.read(["recording_id", "path", "start_time", "duration_s"], condition).sort_by("recording_id")
    if since is not None or until is not None:
        rows = rows.filter(pc.is_valid(rows["start_time"]))
    return RowFilter(
        attempts,
        others,
        recordings=_to_numpy(rows["recording_id"]),
        since_s=None if since is None else _seconds_to("since", since, rows),
        until_s=None if until is None else _seconds_to("until", until, rows),
        spans=None if species is None else _find_spans(archive, table, rows, species, min_score=min_score),
    )


def _to_numpy(column: pa.Array | pa.ChunkedArray) -> Ids:
    values: Ids = column.to_numpy()
    return values


def _seconds_to(name: str, time: Time, recordings: pa.Table) -> Seconds:
    """Return the seconds from the start of each recording to a clock time."""
    from dawnchorus.archive.archive import clock_text

    starts = [text[:_CLOCK_DIGITS] for text in recordings["start_time"].to_pylist()]
    passed = np.datetime64(clock_text(name, time), "ms") - np.array(starts, "datetime64[ms]")
    seconds: Seconds = passed.astype(np.int64) / 1000
    return seconds


def _find_spans(
    archive: Archive, table: ArchiveTable, recordings: pa.Table, species: Names, *, min_score: float
) -> Spans:
    """Return the time spans of recordings in which a species was detected by any run."""
    columns = ["recording_id", "start_s", "end_s"]
    detections = archive.detections(species=species, min_score=min_score, columns=columns).read_all()
    ids = pc.unique(detections["recording_id"])
    known = table.read(["recording_id", "path"], _field("recording_id").isin(ids))
    number_by_path = {path: number for number, path in enumerate(recordings["path"].to_pylist())}
    number_by_id = {
        each["recording_id"]: number_by_path[each["path"]]
        for each in known.to_pylist()
        if each["path"] in number_by_path
    }
    numbers = np.array([number_by_id.get(each, -1) for each in detections["recording_id"].to_pylist()], np.intp)
    is_known = numbers >= 0
    starts_s, ends_s = (detections[name].to_numpy()[is_known] for name in ("start_s", "end_s"))
    longest_s = max(pc.max(recordings["duration_s"]).as_py() or 0.0, ends_s.max(initial=0.0))
    return Spans.create(numbers[is_known], starts_s, ends_s, longest_s=longest_s)


# ---------------------------------------------------------------------- what was detected


class DetectedSpecies:
    """Detections in the latest results of a few recordings, by any run, to look up single windows.

    Args:
        archive: the archive.
        table: the archive's table of recordings.
        paths: paths of the recordings (`ListedFile.path`).
        min_score: minimum score of the detections, 0 to 1.

    Raises:
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """

    def __init__(self, archive: Archive, table: ArchiveTable, paths: Sequence[bytes], *, min_score: float) -> None:
        condition = select_results(table).condition & _field("path").isin(pa.array(list(paths), pa.binary()))
        known = table.read(["recording_id", "path", "attempt"], condition)
        path_by_id = {each["recording_id"]: each["path"] for each in known.to_pylist()}
        rows = archive.table(DETECTIONS).read(
            ["recording_id", "start_s", "end_s", "scientific_name", "kind", "score", "human_voice"],
            _field("recording_id").isin(known["recording_id"].combine_chunks())
            & _field("attempt").isin(pc.unique(known["attempt"]))
            & (_field("score") >= min_score),
        )
        self._by_path: dict[bytes, list[dict[str, object]]] = {}
        for row in rows.sort_by([("score", "descending")]).to_pylist():
            self._by_path.setdefault(path_by_id[row["recording_id"]], []).append(row)

    def names(self, path: bytes, start_s: float, end_s: float) -> list[str]:
        """Return the scientific names of the species that were detected in a window, each once, by descending score.

        The window is that from `start_s` to `end_s`, in seconds, of the recording with the path `path`, one of `paths`.
        """
        rows = self._overlapping(path, start_s + _TOUCHING_S, end_s - _TOUCHING_S)
        return list(dict.fromkeys(str(row["scientific_name"]) for row in rows if row["kind"] == "species"))

    def has_voice(self, path: bytes, start_s: float, end_s: float) -> bool:
        """Return True if there is human speech in a window, or within `VOICE_MARGIN_S` seconds before or after it.

        That is a detection of speech as a class, or one that is marked as `human_voice`. The arguments are as for
        `names`.
        """
        rows = self._overlapping(path, start_s - VOICE_MARGIN_S, end_s + VOICE_MARGIN_S)
        return any(row["human_voice"] or _is_speech(row) for row in rows)

    def _overlapping(self, path: bytes, start_s: float, end_s: float) -> list[dict[str, object]]:
        rows = self._by_path.get(path, [])
        return [row for row in rows if row["start_s"] < end_s and row["end_s"] > start_s]  # type: ignore[operator]


def _is_speech(row: dict[str, object]) -> bool:
    return row["kind"] == "sound" and str(row["scientific_name"]).lower().startswith(("human", "speech"))


def shift_clock(start_time: str | None, seconds: float) -> str | None:
    """Return `start_time` plus `seconds` in ISO 8601 with milliseconds, and its UTC offset if any; None for None."""
    if start_time is None:
        return None
    return (datetime.fromisoformat(start_time) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
