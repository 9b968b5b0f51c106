"""Relations between recordings that must not be separated: clips of one recording, copies, one recordist's day."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dawnchorus.audio.fingerprint import MAX_S
from dawnchorus.data.clip_names import (
    RunningNumber,
    archive_number,
    cut_from,
    is_sound_name,
    page_number,
    recorder_name,
    running_number,
    stem_of,
)
from dawnchorus.data.recordings import RecordingRow

Keys = list[tuple[str, ...]]
"""For each row the keys that it shares with its relatives; none if nothing is known."""

MAX_CLIP_S = 60.0
"""Files of one length up to this may be clips of a recording; longer ones are a recorder's schedule."""

_SAME_S = 0.05
_MIN_DIGITS = 4
"""With so many digits a name is a file's, and not one that a person gave to a series."""

_WEAK = 5
"""Shorter names come again in other folders."""

_NO_NAMES = frozenset(
    (
        *("audio", "clip", "clips", "file", "rec", "record", "recording", "sample", "sound", "sounds", "track", "wav"),
        *("background", "birds", "bird", "new", "noise", "test", "train", "validation", "nocall", "silence", "other"),
        *(
            "adult",
            "alarm",
            "begging",
            "call",
            "calls",
            "drum",
            "female",
            "flight",
            "juvenile",
            "male",
            "song",
            "songs",
        ),
    )
)
"""Words that name no recording."""


def same_recordist_and_day(row: RecordingRow) -> str | None:
    """Recordist, place and day, which make recordings sound alike; None if the recordist or day is not known."""
    if not row.recordist or not row.date or len(row.date) < len("2026-05-01"):
        return None
    place = "" if row.latitude is None or row.longitude is None else f"{row.latitude:.2f},{row.longitude:.2f}"
    return f"{row.recordist.casefold()}|{row.date}|{place or row.locality or ''}"


def _by_row(key: Callable[[RecordingRow], str | None]) -> Callable[[Sequence[RecordingRow]], Keys]:
    """Return the keys of a relation in which each row speaks for itself."""

    def keys(rows: Sequence[RecordingRow]) -> Keys:
        return [() if (value := key(row)) is None else (value,) for row in rows]

    return keys


def _names(row: RecordingRow) -> list[str]:
    """Return the names of the row's file: its path, its identifier, and the name that a server keeps as locality."""
    given = [row.path, row.recording_id, row.locality if row.locality and is_sound_name(row.locality) else ""]
    return [stem for name in given if name and (stem := stem_of(name))]


def _folder(row: RecordingRow) -> str:
    name = row.path or row.recording_id
    return name.replace("\\", "/").rpartition("/")[0]


def _folder_and_stem(row: RecordingRow) -> tuple[str, str]:
    """Return folder and name of the file as it was given: a server keeps files under names of its own."""
    if row.locality and is_sound_name(row.locality):
        return "", stem_of(row.locality)
    return _folder(row), stem_of(row.path or row.recording_id)


def _archive_number(name: str) -> str | None:
    """Return the number in a file's name, or else in that of its folder."""
    parts = name.replace("\\", "/").split("/")
    return archive_number(stem_of(name)) or (archive_number(parts[-2]) if len(parts) > 1 else None)


def _archive_keys(rows: Sequence[RecordingRow]) -> Keys:
    def of_row(row: RecordingRow) -> tuple[str, ...]:
        named = [_archive_number(name) for name in (row.path, row.recording_id) if name]
        named += [archive_number(stem) for stem in _names(row)]
        named.append(page_number(row.url) if row.url else None)
        return tuple(dict.fromkeys(number for number in named if number))

    return [of_row(row) for row in rows]


def _recorder_keys(rows: Sequence[RecordingRow]) -> Keys:
    """Return recorder and start time.

    Names with a time alone come again at every site of a survey: they join only if some of them are clips.
    """
    found = []
    has_clips = set()
    for row in rows:
        named = [name for stem in [*_names(row), stem_of(_folder(row))] if (name := recorder_name(stem))]
        found.append(named)
        has_clips |= {(name.recorder, name.start) for name in named if name.is_clip}
    return [
        tuple(
            dict.fromkeys(
                f"{name.recorder}|{name.start}"
                for name in named
                if name.recorder or (name.recorder, name.start) in has_clips
            )
        )
        for named in found
    ]


def _words(text: str | None) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", (text or "").casefold()))


def _plain(text: str | None) -> str:
    """Return letters and digits in lower case, with single blanks."""
    return " ".join(re.findall(r"[^\W_]+", (text or "").casefold()))


def _names_no_recording(base: str, row: RecordingRow) -> bool:
    """Return True if a name says no more than its class, as `parus major` in the folder of that species does."""
    labels = (row.scientific_name, row.common_name, row.ebird_code, *row.absent, *row.secondary)
    if _plain(base) in map(_plain, (_folder(row).rpartition("/")[2], *labels)):
        return True
    if any(map(str.isdigit, base)):
        return False
    known = _NO_NAMES.union(_words(_folder(row).rpartition("/")[2]), *map(_words, labels))
    return all(len(word) == 1 or word in known for word in _words(base))


def _bound(base: str, row: RecordingRow) -> str:
    """Return the name, with its folder where it is too short to be meant everywhere."""
    own = re.sub(r"[\W_]+", "", base)
    for word in _NO_NAMES & _words(base):
        own = own.replace(word, "")
    return base if len(own) >= _WEAK else f"{_folder(row)}/{base}"


def _cut_keys(rows: Sequence[RecordingRow]) -> Keys:
    """Return the recordings that names say they are cut from; a recording of that name is one of them."""
    bases = []
    for row in rows:
        named = {base for stem in _names(row) if (base := cut_from(stem, row.duration_s))}
        bases.append({_bound(base, row) for base in named if not _names_no_recording(base, row)})
    known = set().union(*bases)
    return [
        tuple(sorted(own | ({_bound(stem.casefold(), row) for stem in _names(row)} & known)))
        for own, row in zip(bases, rows, strict=True)
    ]


@dataclass(frozen=True)
class Series:
    """Files of one folder whose names differ in a number at the end only."""

    base: str
    members: tuple[int, ...]
    """Numbers of the rows, in the order of their own."""
    is_of_one_length: bool
    """All are short and of one length, except that the last may be shorter: as if they were cut."""
    is_set_off: bool


def _series(rows: Sequence[RecordingRow]) -> dict[str, list[Series]]:
    """Return the series of two and more files by folder, without those that are named by their class alone."""
    found: dict[tuple[str, str], list[tuple[RunningNumber, int]]] = defaultdict(list)
    for k, row in enumerate(rows):
        stem = next(iter(_names(row)[::-1] if row.locality and is_sound_name(row.locality) else _names(row)), "")
        if cut_from(stem, row.duration_s) or archive_number(stem) or recorder_name(stem):
            continue
        number = running_number(stem)
        if number is not None:
            is_path = stem == stem_of(row.path or row.recording_id)
            # A server keeps files of all species side by side.
            found[_folder(row) if is_path else row.scientific_name or row.kind, number.base].append((number, k))
    by_folder: dict[str, list[Series]] = defaultdict(list)
    for (folder, base), each in found.items():
        each.sort(key=lambda item: (item[0].number, item[1]))
        members = tuple(k for _, k in each)
        if len(members) > 1:
            by_folder[folder].append(
                Series(base, members, _is_of_one_length(rows, members), all(number.is_set_off for number, _ in each))
            )
    return by_folder


def _is_of_one_length(rows: Sequence[RecordingRow], members: Sequence[int]) -> bool:
    lengths = [rows[k].duration_s or 0.0 for k in members]
    whole = lengths[:-1] or lengths
    is_equal = max(whole) - min(whole) <= _SAME_S and lengths[-1] <= max(whole) + _SAME_S
    return is_equal and 0 < max(whole) <= MAX_CLIP_S


def _is_cut(series: Series, others: int, row: RecordingRow) -> bool:
    """Return True if a series' names and lengths show clips of one recording, and not the recordings of a folder.

    Running numbers alone do not: `a_1` and `a_2` may be two recordings. They do if several names of the folder have
    numbers of their own, and lengths are equal or the names end in a number themselves; or, for equal lengths, if the
    name is that of a file (`DR0000_0123`).
    """
    if not series.is_set_off or _names_no_recording(series.base, row):
        return False
    if series.is_of_one_length and sum(map(str.isdigit, series.base)) >= _MIN_DIGITS:
        return True
    if not _words(series.base):  # a short number may be that of a class
        return False
    return others > 0 and (series.is_of_one_length or series.base[-1:].isdigit())


def _numbered_keys(rows: Sequence[RecordingRow]) -> Keys:
    keys: Keys = [()] * len(rows)
    for folder, each in _series(rows).items():
        set_off = [series for series in each if series.is_set_off]
        for series in each:
            if _is_cut(series, len(set_off) - 1, rows[series.members[0]]):
                for k in series.members:
                    keys[k] = (f"{folder}/{series.base}",)
    return keys


def undecided_series(rows: Sequence[RecordingRow]) -> Iterator[list[RecordingRow]]:
    """Yield series of short files of one length whose names do not tell if they were cut from one recording."""
    keys = _numbered_keys(rows)
    for each in _series(rows).values():
        for series in each:
            if series.is_of_one_length and not keys[series.members[0]]:
                yield [rows[k] for k in series.members]


@dataclass(frozen=True)
class Relation:
    """One reason to keep recordings together: they share a key."""

    name: str
    keys: Callable[[Sequence[RecordingRow]], Keys]
    needs: str
    """Need of a recording for it, as the end of "no recording has ..."."""
    is_known: Callable[[RecordingRow], bool] | None = None
    """None: where there is a key."""
    is_of_one_recording: bool = True
    """Such recordings are one piece of evidence, and not several."""


ARCHIVE = Relation("the same number of an archive", _archive_keys, "the number of an archive in its name or URL")
RECORDER = Relation("the same recorder and start", _recorder_keys, "a recorder and a start time in its name")

RELATIONS: tuple[Relation, ...] = (
    Relation(
        "the same recordist, place and day",
        _by_row(same_recordist_and_day),
        "a recordist and a date",
        is_of_one_recording=False,
    ),
    Relation("the same group", _by_row(lambda row: row.given_group), "a group that its source gives"),
    ARCHIVE,
    RECORDER,
    Relation("cut from the same recording", _cut_keys, "times or a part in its name"),
    Relation("numbered clips of the same recording", _numbered_keys, "a number that is known to be a clip's"),
    Relation("the same sound", _by_row(lambda row: row.sound_hash), "been listened to; run `dawnchorus data check`"),
    Relation(
        "nearly the same sound",
        _by_row(lambda row: row.duplicate_of or row.recording_id),
        "been listened to; run `dawnchorus data check`",
        is_known=lambda row: row.sound_hash is not None,
    ),
    Relation("the same file", _by_row(lambda row: row.path or None), "a path"),
)
"""Relations that keep recordings together."""

SAME_RECORDING = tuple(relation for relation in RELATIONS if relation.is_of_one_recording)


def groups_of(rows: Sequence[RecordingRow], relations: Sequence[Relation] = RELATIONS) -> list[int]:
    """A number for each row; rows that any relation joins, directly or over others, have the same."""
    parent = list(range(len(rows)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for relation in relations:
        first: dict[str, int] = {}
        for k, keys in enumerate(relation.keys(rows)):
            for key in keys:
                parent[root(k)] = root(first.setdefault(key, k))
    return [root(k) for k in range(len(rows))]


@dataclass(frozen=True)
class Leak:
    """Two recordings on two sides that should be on one, and why."""

    relation: str
    first: RecordingRow
    second: RecordingRow


def find_leaks(rows: Sequence[RecordingRow], split_of: Callable[[RecordingRow], str | None]) -> Iterator[Leak]:
    """For every relation, each recording that another one on another side is related to, with that one."""
    for relation in RELATIONS:
        first: dict[str, RecordingRow] = {}
        for row, keys in zip(rows, relation.keys(rows), strict=True):
            if split_of(row) is None:
                continue
            others = [first.setdefault(key, row) for key in keys]
            other = next((other for other in others if split_of(other) != split_of(row)), None)
            if other is not None:
                yield Leak(relation.name, other, row)


@dataclass(frozen=True)
class Coverage:
    """Number of recordings in which a relation could be looked for."""

    relation: Relation
    n_known: int


def coverage_of(rows: Sequence[RecordingRow]) -> tuple[Coverage, ...]:
    """Return for each relation how many rows have what it needs."""
    return tuple(
        Coverage(
            relation,
            sum(map(bool, relation.keys(rows))) if relation.is_known is None else sum(map(relation.is_known, rows)),
        )
        for relation in RELATIONS
    )


def n_longer_than_fingerprints(rows: Sequence[RecordingRow]) -> int:
    """Return how many recordings are longer than what is compared by sound."""
    return sum((row.duration_s or 0.0) > MAX_S for row in rows)
