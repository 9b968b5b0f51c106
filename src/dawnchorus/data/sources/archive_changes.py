"""Recordings of earlier searches that an archive has renamed, replaced or removed since."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.data.sources.xeno_canto import Found
from dawnchorus.errors import DownloadError
from dawnchorus.storage.files import atomic_file

SEARCHES_NAME = "searches.json"
MAX_LOOKED_UP = 100
"""Most recordings that are asked for one by one."""

_MAX_NAMED = 3
SAME_LENGTH_S = 2.0
"""Lengths of one sound may differ by so much between the archive's list and a decoder."""

_SAID = (
    *("scientific_name", "common_name", "secondary", "kind", "url", "recordist", "license", "latitude", "longitude"),
    *("locality", "country", "date", "time", "quality", "sound_type"),
)
"""Fields that the archive says; the others are of the file and the data set."""


@dataclass(frozen=True)
class ArchiveChanges:
    """Rows of a table as the archive describes them now, and the differences."""

    table: RecordingsTable
    renamed: tuple[tuple[str, str, str], ...] = ()
    """Recording, species in the table, species at the archive."""
    relicensed: tuple[tuple[str, str, str], ...] = ()
    replaced: tuple[str, ...] = ()
    """Recordings of which the archive has another file now."""
    gone: tuple[str, ...] = ()
    unsettled: tuple[str, ...] = ()
    """Recordings that the search does not find any more, and that could not be asked for."""

    def notes(self) -> Iterator[str]:
        """Yield each kind of change, with its number and an example."""
        for what, changes in (("under another species", self.renamed), ("under another licence", self.relicensed)):
            if changes:
                listed = "; ".join(f"{name}: {old} -> {new}" for name, old, new in changes[:_MAX_NAMED])
                yield f"rows updated, {what} at the archive now: {len(changes)} ({listed})."
        for names, text in (
            (self.replaced, "with another file at the archive now, which is fetched if it is wanted"),
            (self.gone, "that the archive has removed, whose rows and sound stay"),
            (
                self.unsettled,
                "that this search finds no more and that could not be asked for, which stay as they are",
            ),
        ):
            if names:
                yield f"recordings of the table {text}: {len(names)} ({', '.join(names[:_MAX_NAMED])})."


def compare_with_archive(
    table: RecordingsTable, found: Sequence[Found], earlier: Iterable[str], look_up: Callable[[str], Found | None]
) -> ArchiveChanges:
    """Return the table under the archive's present names and licences.

    Args:
        table: The data set's rows.
        found: Everything that the search finds now.
        earlier: Recordings that the same search found before.
        look_up: Gives a recording by its identifier; None if the archive has it no more. May raise DownloadError.
    """
    now = {item.row.recording_id: item for item in found}
    known = {row.recording_id for row in table.rows}
    lost = sorted(set(earlier) & known - set(now))
    looked_up: dict[str, Found | None] = {}
    for name in lost[:MAX_LOOKED_UP]:
        with suppress(DownloadError):
            looked_up[name] = look_up(name)
    now |= {name: item for name, item in looked_up.items() if item is not None}
    pairs = [(row, now[row.recording_id]) for row in table.rows if row.recording_id in now]
    return ArchiveChanges(
        table.with_rows(_updated(row, now) for row in table.rows),
        renamed=_differences(pairs, "scientific_name"),
        relicensed=_differences(pairs, "license"),
        replaced=tuple(row.recording_id for row, item in pairs if _is_other_file(row, item)),
        gone=tuple(name for name, item in looked_up.items() if item is None),
        unsettled=tuple(name for name in lost if name not in looked_up),
    )


def _updated(row: RecordingRow, now: Mapping[str, Found]) -> RecordingRow:
    item = now.get(row.recording_id)
    return row if item is None else replace(row, **{name: getattr(item.row, name) for name in _SAID})


def _differences(pairs: Iterable[tuple[RecordingRow, Found]], name: str) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (row.recording_id, str(getattr(row, name) or "unknown"), str(getattr(item.row, name) or "unknown"))
        for row, item in pairs
        if getattr(row, name) != getattr(item.row, name)
    )


def _is_other_file(row: RecordingRow, item: Found) -> bool:
    lengths = row.duration_s, item.row.duration_s
    is_longer = None not in lengths and abs((lengths[0] or 0) - (lengths[1] or 0)) > SAME_LENGTH_S
    return bool(item.file_url) and (row.path != item.row.path or is_longer)


def read_search(folder: Path, query: str) -> list[str]:
    """Return the recordings that a query found before; none where nothing is known of it."""
    return _searches(folder).get(query, [])


def write_search(folder: Path, query: str, recording_ids: Iterable[str]) -> None:
    """Note the recordings that a query found.

    Raises:
        OutputError: no space, or no permission.
    """
    searches = {**_searches(folder), query: sorted(recording_ids)}
    with atomic_file(folder / SEARCHES_NAME) as stream:
        stream.write(json.dumps({"schema": 1, "searches": searches}).encode())


def _searches(folder: Path) -> dict[str, list[str]]:
    try:
        searches: dict[str, list[str]] = json.loads((folder / SEARCHES_NAME).read_bytes())["searches"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return searches
