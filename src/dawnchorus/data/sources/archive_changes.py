"""Detection of recordings that an archive (xeno-canto) has changed or removed since an earlier search."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.data.sources.xeno_canto import SearchResult
from dawnchorus.errors import DownloadError, LongWaitError
from dawnchorus.storage.files import atomic_file

SEARCHES_NAME = "searches.json"
MAX_LOOKED_UP = 100
"""Maximum number of recordings that are requested individually."""

_MAX_NAMED = 3
SAME_LENGTH_S = 2.0
"""Maximum difference in seconds between the length that an archive lists and the decoded length of the same file."""

_COMPARED_FIELDS = (
    *("scientific_name", "common_name", "secondary", "kind", "url", "recordist", "license", "latitude", "longitude"),
    *("locality", "country", "date", "time", "quality", "sound_type"),
)
"""Fields of a row that come from the archive; other fields come from the file and the data set."""

_NAMED_CHANGES = ("scientific_name", "common_name", "license")
"""Fields that are not in `ArchiveChanges.others`: two have own attributes; a common name follows its species."""


@dataclass(frozen=True)
class ArchiveChanges:
    """The data set's table updated from the archive, and the changes.

    Changes are (recording_id, old, new); old and new are values as text for messages, "unknown" for None.
    """

    table: RecordingsTable
    """The updated table."""
    renamed: tuple[tuple[str, str, str], ...] = ()
    """Changed species."""
    relicensed: tuple[tuple[str, str, str], ...] = ()
    """Changed licenses."""
    others: Mapping[str, tuple[tuple[str, str, str], ...]] = field(default_factory=dict)
    """Changes by name of each other field of `RecordingRow` that comes from the archive, such as "date", but not
    "common_name". () for a field without changes."""
    replaced: tuple[str, ...] = ()
    """recording_ids for which the archive has another file now: another name, or a length that differs by over 2 s."""
    gone: tuple[str, ...] = ()
    """recording_ids that the archive no longer has; their rows and files stay in the data set."""
    unsettled: tuple[str, ...] = ()
    """recording_ids that the search no longer returns, and whose individual request failed or was not made; their rows
    stay as they are."""

    def notes(self) -> Iterator[str]:
        """Yield a sentence for the user with number and examples for each kind of change."""
        others = ((f"with another {name.replace('_', ' ')}", changes) for name, changes in self.others.items())
        for what, changes in (
            ("under another species", self.renamed),
            ("under another license", self.relicensed),
            *others,
        ):
            if changes:
                listed = "; ".join(f"{name}: {old} -> {new}" for name, old, new in changes[:_MAX_NAMED])
                yield f"rows updated, {what} at the archive now: {len(changes)} ({listed})."
        for names, text in (
            (self.replaced, "with another file at the archive now, which is downloaded if it is selected"),
            (self.gone, "that the archive has removed, whose rows and sound stay"),
            (
                self.unsettled,
                "that this search no longer finds and that could not be looked up, which stay as they are",
            ),
        ):
            if names:
                yield f"recordings of the table {text}: {len(names)} ({', '.join(names[:_MAX_NAMED])})."


@dataclass(frozen=True)
class EarlierSearch:
    """Result of a query in the runs of `dawnchorus data fetch` into this data set before the current one."""

    recording_ids: tuple[str, ...] = ()
    """recording_ids that the query found in the last of these runs; () if this query was not run before."""
    listed_s: Mapping[str, float | None] = field(default_factory=dict)
    """Lengths in seconds that the archive listed in earlier searches, also of other queries, by recording_id. None if
    the archive listed none."""


def compare_with_archive(
    table: RecordingsTable,
    results: Sequence[SearchResult],
    earlier: EarlierSearch,
    find_recording: Callable[[str], SearchResult | None],
) -> ArchiveChanges:
    """Update the table with the archive's current data, and return the changes.

    Recordings of the table that the earlier search found and this one does not are requested one by one, at most
    `MAX_LOOKED_UP` (100) of them; the others are `unsettled`. A row's path, length and other facts of its file stay as
    they are.

    Args:
        table: the data set.
        results: all results of the current search.
        earlier: result of the same search in earlier runs.
        find_recording: function that requests a recording by its identifier, and returns None if the archive no longer
            has it. If it raises a DownloadError (but no LongWaitError), the recording is `unsettled`.

    Raises:
        LongWaitError: `find_recording` raised it, since the archive asks for a long wait.
    """
    now = {result.row.recording_id: result for result in results}
    known = {row.recording_id for row in table.rows}
    lost = sorted(set(earlier.recording_ids) & known - set(now))
    looked_up: dict[str, SearchResult | None] = {}
    for name in lost[:MAX_LOOKED_UP]:
        try:
            looked_up[name] = find_recording(name)
        except LongWaitError:
            raise
        except DownloadError:
            continue
    now |= {name: result for name, result in looked_up.items() if result is not None}
    pairs = [(row, now[row.recording_id]) for row in table.rows if row.recording_id in now]
    return ArchiveChanges(
        table.with_rows(_update(row, now) for row in table.rows),
        renamed=_differences(pairs, "scientific_name"),
        relicensed=_differences(pairs, "license"),
        others={name: _differences(pairs, name) for name in _COMPARED_FIELDS if name not in _NAMED_CHANGES},
        replaced=tuple(row.recording_id for row, result in pairs if _is_other_file(row, result, earlier)),
        gone=tuple(name for name, result in looked_up.items() if result is None),
        unsettled=tuple(name for name in lost if name not in looked_up),
    )


def _update(row: RecordingRow, now: Mapping[str, SearchResult]) -> RecordingRow:
    result = now.get(row.recording_id)
    return row if result is None else replace(row, **{name: getattr(result.row, name) for name in _COMPARED_FIELDS})


def _differences(pairs: Iterable[tuple[RecordingRow, SearchResult]], name: str) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (row.recording_id, str(getattr(row, name) or "unknown"), str(getattr(result.row, name) or "unknown"))
        for row, result in pairs
        if getattr(row, name) != getattr(result.row, name)
    )


def lengths_differ(first_s: float, second_s: float) -> bool:
    """Return True if two durations in seconds differ by more than `SAME_LENGTH_S` (2 s), so not of the same file."""
    return abs(first_s - second_s) > SAME_LENGTH_S


def _is_other_file(row: RecordingRow, result: SearchResult, earlier: EarlierSearch) -> bool:
    """Return True if the archive's file has another path, or another listed length than before."""
    before_s, now_s = earlier.listed_s.get(row.recording_id, row.duration_s), result.row.duration_s
    has_other_length = before_s is not None and now_s is not None and lengths_differ(before_s, now_s)
    return bool(result.file_url) and (row.path != result.row.path or has_other_length)


def read_search(folder: Path, query: str) -> EarlierSearch:
    """Return the result of a query that `write_search` stored in the data set's folder.

    `recording_ids` is () if this query was not stored; `listed_s` has the lengths of all stored queries. A damaged file
    counts as missing, and then both are empty.
    """
    known = _read(folder)
    return EarlierSearch(tuple(known["searches"].get(query, ())), known["listed_s"])


def write_search(folder: Path, query: str, search: EarlierSearch) -> None:
    """Store the result `search` of a query in the data set's folder, for `read_search` in later runs.

    An earlier result of the query is replaced, those of other queries stay. Lengths are added to the stored ones, and
    replace those of the same recording. Queries are compared as written.

    Raises:
        OutputError: no space, or no permission.
    """
    known = _read(folder)
    searches = {**known["searches"], query: sorted(search.recording_ids)}
    listed_s = {**known["listed_s"], **search.listed_s}
    with atomic_file(folder / SEARCHES_NAME) as stream:
        stream.write(json.dumps({"schema": 1, "searches": searches, "listed_s": listed_s}).encode())


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the stored "searches" and "listed_s" (lengths; missing in files before 2026-11-27)."""
    try:
        results = json.loads((folder / SEARCHES_NAME).read_bytes())
        return {"searches": dict(results["searches"]), "listed_s": dict(results.get("listed_s", {}))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"searches": {}, "listed_s": {}}
