"""Merging of recordings tables: the same recording is recognized by archive number, path or content."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dawnchorus.data.combine import Change, combine
from dawnchorus.data.contradictions import CONTRADICTORY, Joined, join_contradictory
from dawnchorus.data.layouts.folders import archive_id
from dawnchorus.data.recordings import MISSING, RecordingRow, RecordingsTable
from dawnchorus.tables.notes import counted

_BLOCK = 1 << 18
_N_DIGITS = 8
_MAX_NAMED = 3
_ARCHIVE_ID = re.compile(r"(XC|iNat|CSA|ML)\d+", re.IGNORECASE)
_SUFFIX = re.compile(rf"#[0-9a-f]{{{_N_DIGITS}}}")


def hash_content(path: Path) -> str:
    """Return a digest (32 hexadecimal digits) of a file's size and of its first, middle and last 256 KiB.

    Two different recordings of the same size are expected to differ in these blocks, unless both are digital silence.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        digest = hashlib.sha256(str(length).encode())
        for start in (0, max(length // 2 - _BLOCK // 2, 0), max(length - _BLOCK, 0)):
            file.seek(start)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()[:32]


def with_unique_ids(rows: Iterable[RecordingRow]) -> Iterator[RecordingRow]:
    """Yield the rows in their order, with a digest appended to recording_ids that several rows have (`a.wav#1f2e3d4c`).

    All rows of such an id get one. The digest is of the content, or else of path and labels, so it does not depend on
    the order of rows. Rows that are alike in all of these are numbered: `a.wav#1f2e3d4c.2`.
    """
    rows = list(rows)
    sharing: dict[str, list[int]] = defaultdict(list)
    for k, row in enumerate(rows):
        sharing[_name(row)].append(k)
    ids: dict[int, str] = {}
    for name, members in sharing.items():
        ids |= dict(zip(members, _ids(name, [rows[k] for k in members]), strict=True))
    return (replace(row, recording_id=ids[k]) for k, row in enumerate(rows))


def _name(row: RecordingRow) -> str:
    """Return the recording_id without a digest that `with_unique_ids` appended."""
    match = _SUFFIX.search(row.recording_id)
    is_own = match is not None and any(match[0] == f"#{digest}" for digest in map(_digest, _keys(row)))
    return row.recording_id[: match.start()] if match is not None and is_own else row.recording_id


def _ids(name: str, rows: Sequence[RecordingRow]) -> list[str]:
    """Return a unique recording_id for each of the rows with the same name."""
    if len(rows) == 1 and _name(rows[0]) == rows[0].recording_id:
        return [name]
    ids = [""] * len(rows)
    waiting = list(range(len(rows)))
    for n_key in range(len(_keys(rows[0]))):
        digests = [_digest(_keys(rows[k])[n_key]) for k in waiting]
        for k, digest in zip(waiting, digests, strict=True):
            ids[k] = f"{name}#{digest}"
        waiting = [k for k, digest in zip(waiting, digests, strict=True) if digests.count(digest) > 1]
    n_alike: Counter[str] = Counter()
    for k in waiting:  # rows that are alike in everything
        n_alike[ids[k]] += 1
        if n_alike[ids[k]] > 1:
            ids[k] += f".{n_alike[ids[k]]}"
    return ids


def _keys(row: RecordingRow) -> tuple[tuple[object, ...], ...]:
    """Return keys that distinguish rows, each more specific: content; with the path; with the labels, too."""
    first = row.content_hash or row.path
    others = (row.scientific_name, row.common_name, *row.secondary, *row.absent)
    return (first,), (first, row.path), (first, row.path, *others)


def _digest(key: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:_N_DIGITS]


@dataclass(frozen=True)
class Merge:
    """Result of merging new recordings into a data set."""

    table: RecordingsTable
    """The merged table, with unique recording_ids."""
    n_added: int
    """Number of rows that were added to the data set."""
    n_unchanged: int
    """Number of new recordings that were in the data set already, and changed nothing in it."""
    updated: tuple[str, ...]
    """recording_ids of rows that were in the data set already, and now have new or changed fields but the same path."""
    moved: tuple[tuple[str, str, str], ...]
    """Recordings whose row has another path now: (recording_id, old path, new path)."""
    kept: Mapping[str, Sequence[str]]
    """recording_ids by fact (such as "license") that only the old rows have; the old value is kept."""
    changes: Mapping[str, Sequence[tuple[str, Change]]]
    """Pairs (recording_id, change) by fact on which old and new row disagree; the new value is used."""
    joined: Joined
    """Rows of `table` before their recording_ids were made unique, and the contradicting labels of equal files."""

    def notes(self) -> Iterator[str]:
        """Yield sentences for the user on the rows that were added, changed or kept."""
        n_there = self.n_unchanged + len(self.updated) + len(self.moved)
        yield f"added to the table: {counted(self.n_added, 'recording')}; there already: {n_there}."
        splits = Counter(row.split is not None for row in self.table.rows)
        if splits[True] and splits[False]:
            unsplit = [row.recording_id for row in self.table.rows if row.split is None]
            yield (
                f"in no split, while others are in one: {len(unsplit)} of {len(self.table.rows)} "
                f"({_format_list(unsplit)}). They are not used until `dawnchorus data split` is run again."
            )
        if self.updated:
            yield (
                f"rows updated, of the same file: {len(self.updated)} ({_format_list(self.updated)}). What the new "
                f"source does not know stays as it was."
            )
        if self.moved:
            paths = [f"{name}: {old} by {new}" for name, old, new in self.moved]
            yield (
                f"rows that lead to another file now, of the same recording: "
                f"{len(paths)} ({_format_list(paths, '; ')})."
            )
        yield from self.joined.notes()
        if self.kept:
            facts = ", ".join(f"{fact} {len(names)} (as of {names[0]})" for fact, names in self.kept.items())
            yield f"kept from before, because the new source does not have it: {facts}."
        for fact, changes in self.changes.items():
            yield f"{fact} changed: {len(changes)} ({'; '.join(_describe(fact, changes))})."


def _format_list(names: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return separator.join(names[:_MAX_NAMED]) + more


def _describe(fact: str, changes: Sequence[tuple[str, Change]]) -> Iterator[str]:
    """Yield an example of the changes of a fact; for species, each pair of old and new species with its recordings."""
    if fact != "species":
        name, change = changes[0]
        yield f"as of {name}: {change.old} by {change.new}"
        return
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, change in changes:
        names[change.old, change.new].append(name)
    for (old, new), of in names.items():
        yield f"{old} by {new}: {_format_list(of)}"


def merge(known: RecordingsTable, new: RecordingsTable) -> Merge:
    """Merge two tables; rows of the same recording are combined under the identifier in `known`.

    Two rows are the same recording if they have the same path, else if they have the same archive identifier (`XC123`),
    else if they have the same content and the old file no longer exists. Values of `new` replace values of `known`; see
    `combine`. Two files with the same content but contradicting labels become one recording without a label, also in
    later merges. The merged table has the folder of `new`; its rows are those of `known`, then the added ones.
    """
    rows = list(known.rows)
    index = _RowIndex(known)
    n_unchanged, updated, moved, added = 0, [], [], []
    kept: dict[str, list[str]] = defaultdict(list)
    changes: dict[str, list[tuple[str, Change]]] = defaultdict(list)
    for row in new.rows:
        k = index.find(row)
        if k is None:
            added.append(row)
            continue
        if CONTRADICTORY in rows[k].problems and rows[k].content_hash == row.content_hash:
            n_unchanged += 1
            continue
        old, combined = rows[k], combine(rows[k], row)
        rows[k] = combined.row
        for fact in combined.kept:
            kept[fact].append(old.recording_id)
        for change in combined.changes:
            changes[change.fact].append((old.recording_id, change))
        if old.path != combined.row.path and MISSING not in old.problems:
            moved.append((old.recording_id, old.path, row.path))
        elif rows[k] != old:
            updated.append(old.recording_id)
        else:
            n_unchanged += 1
    joined = join_contradictory([*rows, *added])
    named = list(with_unique_ids(joined.rows))
    new_ids: dict[str, str] = {}
    for old, row in zip(joined.rows, named, strict=True):
        new_ids.setdefault(old.recording_id, row.recording_id)  # the known rows come first
    table = new.with_rows(
        replace(row, duplicate_of=new_ids[row.duplicate_of]) if row.duplicate_of in new_ids else row for row in named
    )
    n_added = len(joined.rows) - len(rows)
    return Merge(table, n_added, n_unchanged, tuple(updated), tuple(moved), kept, changes, joined)


class _RowIndex:
    """Lookup of a table's rows, each of which is returned once at most."""

    def __init__(self, table: RecordingsTable) -> None:
        self._table = table
        self._by_path: dict[str, list[int]] = defaultdict(list)
        self._by_content: dict[str, list[int]] = defaultdict(list)
        self._by_archive: dict[str, list[int]] = defaultdict(list)
        self._free = set(range(len(table.rows)))
        for k, row in enumerate(table.rows):
            self._by_path[row.path].append(k)
            if row.content_hash:
                self._by_content[row.content_hash].append(k)
            if (name := archive_number(row)) is not None:
                self._by_archive[name].append(k)

    def find(self, row: RecordingRow) -> int | None:
        """Return the index of the row of the same recording; None if there is none, or it was returned before."""
        index = self._choose(self._by_path.get(row.path, ()), row)
        if index is None and (name := archive_number(row)) is not None:
            index = self._choose(self._by_archive.get(name, ()), row)
        if index is None and row.content_hash:
            copies = self._by_content.get(row.content_hash, ())
            contradictory = (k for k in copies if CONTRADICTORY in self._table.rows[k].problems)
            index = next(contradictory, None)
            if index is None:
                gone = [k for k in copies if not self._table.file(self._table.rows[k]).exists()]
                index = self._choose(gone, row)
        if index is not None:
            self._free.discard(index)
        return index

    def _choose(self, indices: Sequence[int], row: RecordingRow) -> int | None:
        """Return an index not returned before: of several rows of one file, the row with the species of `row`."""
        free = [k for k in indices if k in self._free]
        alike = [k for k in free if self._table.rows[k].scientific_name in (row.scientific_name, None)]
        alike.sort(key=lambda k: self._table.rows[k].scientific_name is None)
        if alike:
            return alike[0]
        return free[0] if free and (len(indices) == 1 or row.scientific_name is None) else None


def is_same_recording(one: RecordingRow, other: RecordingRow) -> bool:
    """Return True if two rows, each of another table, are the same recording.

    They must have the same recording_id. Since most recording_ids are only unique within their table, this id must also
    be an archive's identifier (`archive_number`), or the rows' values of `content_hash` must not differ. If one of the
    values is None (unknown), they do not differ.
    """
    if one.recording_id != other.recording_id:
        return False
    if archive_number(one) is not None and archive_number(one) == archive_number(other):
        return True
    return one.content_hash is None or other.content_hash is None or one.content_hash == other.content_hash


def archive_number(row: RecordingRow) -> str | None:
    """Return the identifier of a row's recording in an archive such as xeno-canto (`XC123`).

    The identifier is the recording_id without `#...`, in upper case, if it has the form `XC123`, `ML123`, `CSA123` or
    `iNat123`. None for clips of xeno-canto's recordings, and for other recordings.
    """
    name = row.recording_id.partition("#")[0]
    if not _ARCHIVE_ID.fullmatch(name):
        return None
    return name.upper() if archive_id(Path(row.path).stem) is not None or "XC" not in row.path.upper() else None
