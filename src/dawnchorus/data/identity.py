"""Recordings that are the same ones: by an archive's number, by their file, or by its bytes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dawnchorus.data.layouts.folders import archive_id
from dawnchorus.data.recordings import RecordingRow, RecordingsTable

MISSING = "missing"
"""Problem of a recording whose file is not there."""

_BLOCK = 1 << 18
_N_DIGITS = 8
_MAX_NAMED = 3
_ARCHIVE_ID = re.compile(r"(XC|iNat|CSA|ML)\d+", re.IGNORECASE)
_SUFFIX = re.compile(rf"#[0-9a-f]{{{_N_DIGITS}}}")


def hash_content(path: Path) -> str:
    """Return a digest of a file's length and of its first, middle and last 256 KiB.

    Recordings differ in each of these, but for digital silence.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        digest = hashlib.sha256(str(length).encode())
        for start in (0, max(length // 2 - _BLOCK // 2, 0), max(length - _BLOCK, 0)):
            file.seek(start)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()[:32]


def with_unique_ids(rows: Iterable[RecordingRow]) -> Iterator[RecordingRow]:
    """Yield the rows; names that several have get a digest of what each is behind them, the same in any order."""
    rows = list(rows)
    sharing: dict[str, list[int]] = defaultdict(list)
    for k, row in enumerate(rows):
        sharing[_name(row)].append(k)
    ids: dict[int, str] = {}
    for name, members in sharing.items():
        ids |= dict(zip(members, _ids(name, [rows[k] for k in members]), strict=True))
    return (replace(row, recording_id=ids[k]) for k, row in enumerate(rows))


def _name(row: RecordingRow) -> str:
    """Return the identifier without a digest that this module put behind it."""
    match = _SUFFIX.search(row.recording_id)
    is_own = match is not None and any(match[0] == f"#{digest}" for digest in map(_digest, _keys(row)))
    return row.recording_id[: match.start()] if match is not None and is_own else row.recording_id


def _ids(name: str, rows: Sequence[RecordingRow]) -> list[str]:
    """Return an identifier for each of the rows that have the same name."""
    if len(rows) == 1 and _name(rows[0]) == rows[0].recording_id:
        return [name]
    found = [""] * len(rows)
    waiting = list(range(len(rows)))
    for n_key in range(len(_keys(rows[0]))):
        digests = [_digest(_keys(rows[k])[n_key]) for k in waiting]
        for k, digest in zip(waiting, digests, strict=True):
            found[k] = f"{name}#{digest}"
        waiting = [k for k, digest in zip(waiting, digests, strict=True) if digests.count(digest) > 1]
    n_alike: Counter[str] = Counter()
    for k in waiting:  # rows that are alike in everything
        n_alike[found[k]] += 1
        if n_alike[found[k]] > 1:
            found[k] += f".{n_alike[found[k]]}"
    return found


def _keys(row: RecordingRow) -> tuple[tuple[object, ...], ...]:
    """Return what a row is told apart by: bytes, then also path, then also what is said of it."""
    first = row.content_hash or row.path
    others = (row.scientific_name, row.common_name, *row.secondary, *row.absent)
    return (first,), (first, row.path), (first, row.path, *others)


def _digest(key: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:_N_DIGITS]


@dataclass(frozen=True)
class Merge:
    """A data set with more recordings, and what became of those that it had."""

    table: RecordingsTable
    n_added: int
    n_unchanged: int
    changed: tuple[str, ...]
    """Recordings of which something else is known now, by recording_id."""
    moved: tuple[tuple[str, str, str], ...]
    """Recordings whose row leads to another file now: recording_id, old path, new path."""

    def notes(self) -> Iterator[str]:
        """Yield what was added, and what became of rows that were there."""
        yield (
            f"added to the table: {self.n_added} recordings; there already: "
            f"{self.n_unchanged + len(self.changed) + len(self.moved)}."
        )
        if self.changed:
            yield f"rows replaced, of the same file: {len(self.changed)} ({', '.join(self.changed[:_MAX_NAMED])})."
        if self.moved:
            listed = "; ".join(f"{name}: {old} by {new}" for name, old, new in self.moved[:_MAX_NAMED])
            yield f"rows replaced, of the same recording in another file: {len(self.moved)} ({listed})."


def merge(known: RecordingsTable, new: RecordingsTable) -> Merge:
    """Return both tables' recordings: the new row where both have the same one, with the old identifier and split.

    The same recording is one with the same number at an archive, the same file, or a file of the same bytes whose old
    path is empty now. A row whose file is missing replaces none.
    """
    rows = list(known.rows)
    places = _Places(known)
    n_unchanged, changed, moved, added = 0, [], [], []
    for row in new.rows:
        k = places.find(row)
        if k is None:
            added.append(row)
            continue
        old = rows[k]
        if MISSING in row.problems and MISSING not in old.problems:
            n_unchanged += 1
            continue
        rows[k] = _carried(old, row)
        if old.path != row.path and MISSING not in old.problems:
            moved.append((old.recording_id, old.path, row.path))
        elif rows[k] != old:
            changed.append(old.recording_id)
        else:
            n_unchanged += 1
    named = list(with_unique_ids([*rows, *added]))
    new_ids = {old.recording_id: row.recording_id for old, row in zip(rows, named, strict=False)}
    table = new.with_rows(
        replace(row, duplicate_of=new_ids[row.duplicate_of]) if row.duplicate_of in new_ids else row for row in named
    )
    return Merge(table, len(added), n_unchanged, tuple(changed), tuple(moved))


def _carried(old: RecordingRow, new: RecordingRow) -> RecordingRow:
    """Return the new row with what belongs to the recording in this data set; findings stay with the same bytes."""
    row = replace(new, recording_id=old.recording_id, split=old.split, group=old.group)
    if old.content_hash is None or old.content_hash != new.content_hash:
        return row
    findings = ("sound_hash", "duplicate_of", "label_check", "heard_species", "heard_score", "heard_start_s")
    kept = {name: getattr(old, name) for name in (*findings, "heard_end_s", "duration_s", "rate_hz", "problems")}
    return replace(row, **kept) if old.sound_hash is not None else row


class _Places:
    """Rows of a table, each to be found once."""

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
        """Return the row of the same recording, if there is one that was not found before."""
        found = self._one_of(self._by_path.get(row.path, ()), row)
        if found is None and (name := archive_number(row)) is not None:
            found = self._one_of(self._by_archive.get(name, ()), row)
        if found is None and row.content_hash:
            gone = [
                k
                for k in self._by_content.get(row.content_hash, ())
                if not self._table.file(self._table.rows[k]).exists()
            ]
            found = self._one_of(gone, row)
        if found is not None:
            self._free.discard(found)
        return found

    def _one_of(self, places: Sequence[int], row: RecordingRow) -> int | None:
        """Return the only place, or of several rows of one file that of the same species."""
        free = [k for k in places if k in self._free]
        alike = [k for k in free if self._table.rows[k].scientific_name == row.scientific_name]
        if alike:
            return alike[0]
        return free[0] if len(places) == 1 and free else None


def is_same_recording(one: RecordingRow, other: RecordingRow) -> bool:
    """Return True if two rows of one identifier, in different tables, are of one recording, as far as is known.

    An identifier that no archive gave is only unique in its own table: where both files' bytes are known, they tell.
    """
    if one.recording_id != other.recording_id:
        return False
    if archive_number(one) is not None and archive_number(one) == archive_number(other):
        return True
    return one.content_hash is None or other.content_hash is None or one.content_hash == other.content_hash


def archive_number(row: RecordingRow) -> str | None:
    """Return the number that an archive gave to the whole recording, as `XC123`."""
    name = row.recording_id.partition("#")[0]
    if not _ARCHIVE_ID.fullmatch(name):
        return None
    return name.upper() if archive_id(Path(row.path).stem) is not None or "XC" not in row.path.upper() else None
