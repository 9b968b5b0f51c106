"""Relations between recordings that must stay in one split: clips, copies, or the same recordist and day."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from dawnchorus.audio.fingerprint import MAX_S
from dawnchorus.data.clip_names import (
    ClipName,
    RunningNumber,
    archive_number,
    get_stem,
    is_sound_name,
    letter_at_end,
    number_at_end,
    number_at_start,
    number_inside,
    page_number,
    parse_clip_name,
    recorder_name,
    recorder_night,
    two_numbers,
)
from dawnchorus.data.recordings import RecordingRow

Keys = list[tuple[str, ...]]
"""Keys of each row; rows that share a key are related. Empty for a row without the necessary data."""

MAX_CLIP_S = 60.0
"""Maximum length in seconds of equally long files to be taken for clips of one recording.

Longer files of equal length are usually recordings of a schedule.
"""

_SAME_S = 0.05
_MIN_OFFSET_S = 2
"""Minimum clip length for which numbers are compared with its multiples; each integer is a multiple of 1."""

_MIN_DIGITS = 4
"""Minimum number of digits in a name for it to identify a file rather than a series of files."""

_WEAK = 5
_WORD = 4
"""Minimum length (`_WEAK`) or number of letters (`_WORD`) of a name to be unique beyond its folder."""

_IDENTIFIER = re.compile(r"clip[-_ ]\d{3}(?:[-_ ]\d{3})+", re.ASCII)
"""Part of a running number over a whole archive, as `Clip 000 364` of the software Vesper's `Clip 000 364 459`."""

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
        *("channel", "id", "ind", "individual", "mic", "nest", "plot", "point", "site", "station", "transect"),
    )
)
"""Words in file names that do not identify a recording."""


def same_recordist_and_day(row: RecordingRow) -> str | None:
    """Return a key of recordist, location and day, for `Relation.keys`; None without recordist or day.

    The location is latitude and longitude to 0.01 degrees, or else the locality; rows without both have an equal one.
    """
    if not row.recordist or not row.date or len(row.date) < len("2026-05-01"):
        return None
    folder = "" if row.latitude is None or row.longitude is None else f"{row.latitude:.2f},{row.longitude:.2f}"
    return f"{row.recordist.casefold()}|{row.date}|{folder or row.locality or ''}"


def _by_row(key: Callable[[RecordingRow], str | None], rows: Sequence[RecordingRow]) -> Keys:
    """Return the keys of a relation whose key depends on the row only; `key` returns None without data."""
    return [() if (value := key(row)) is None else (value,) for row in rows]


def _names(row: RecordingRow) -> list[str]:
    """Return the stems of path, identifier, and the uploaded file's name, which the server stores as locality."""
    given = [row.path, row.recording_id, row.locality if _has_server_name(row) else ""]
    return [stem for name in given if name and (stem := get_stem(name))]


def _folder(row: RecordingRow) -> str:
    name = row.path or row.recording_id
    return name.replace("\\", "/").rpartition("/")[0]


def _has_server_name(row: RecordingRow) -> bool:
    """Return True if the file was uploaded to the server, which renames files and stores their name as locality."""
    return bool(row.locality and is_sound_name(row.locality))


def _name_scope(row: RecordingRow) -> str:
    """Return the scope in which names are unique: the folder, or on the server (one folder for all) the species."""
    return (row.scientific_name or row.kind) if _has_server_name(row) else _folder(row)


def _archive_number(name: str) -> str | None:
    """Return the archive's identifier in a file's name, or else in the folder's name."""
    parts = name.replace("\\", "/").split("/")
    return archive_number(get_stem(name)) or (archive_number(parts[-2]) if len(parts) > 1 else None)


def _archive_numbers(row: RecordingRow) -> tuple[str, ...]:
    """Return the archives' identifiers (`XC123`) in the row's names and URL, without repetition."""
    named = [_archive_number(name) for name in (row.path, row.recording_id) if name]
    named += [archive_number(stem) for stem in _names(row)]
    named.append(page_number(row.url) if row.url else None)
    return tuple(dict.fromkeys(number for number in named if number))


def _archive_keys(rows: Sequence[RecordingRow]) -> Keys:
    return [_archive_numbers(row) for row in rows]


def _recorder_keys(rows: Sequence[RecordingRow]) -> Keys:
    """Return keys of recorder and start time in file and folder names.

    A start time without a recorder may occur at each site of a survey: it is a key only if a clip has it, too.
    """
    names_by_row = []
    has_clips = set()
    classes = _class_names(rows)
    for row in rows:
        named = [name for stem in [*_names(row), get_stem(_folder(row))] if (name := recorder_name(stem, classes))]
        names_by_row.append(named)
        has_clips |= {(name.recorder, name.start) for name in named if name.is_clip}
    return [
        tuple(
            dict.fromkeys(
                f"{name.recorder}|{name.start}"
                for name in named
                if name.recorder or (name.recorder, name.start) in has_clips
            )
        )
        for named in names_by_row
    ]


def _class_names(rows: Sequence[RecordingRow]) -> frozenset[str]:
    """Return the names and codes of the rows' classes, in lower case with single spaces."""
    names = {
        name
        for row in rows
        for name in (row.scientific_name, row.common_name, row.ebird_code, *row.secondary, *row.absent)
    }
    return frozenset(map(_plain, names)) - {""}


def _night_keys(rows: Sequence[RecordingRow]) -> Keys:
    """Return keys of recorder and night of clips that are named by the time of a detection."""
    named = ([recorder_night(stem) for stem in _names(row)] for row in rows)
    return [tuple(dict.fromkeys(night for night in nights if night)) for nights in named]


def _words(text: str | None) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", (text or "").casefold()))


def _plain(text: str | None) -> str:
    """Return the words of letters and digits in lower case, with single spaces."""
    return " ".join(re.findall(r"[^\W_]+", (text or "").casefold()))


def _names_no_recording(base: str, row: RecordingRow) -> bool:
    """Return True if a name identifies no recording: it only repeats the class, or consists of general words."""
    labels = (row.scientific_name, row.common_name, row.ebird_code, *row.absent, *row.secondary)
    if _plain(base) in map(_plain, (_folder(row).rpartition("/")[2], *labels)):
        return True
    if _IDENTIFIER.fullmatch(base):
        return True
    if any(map(str.isdigit, base)):
        return False
    known = _NO_NAMES.union(_words(_folder(row).rpartition("/")[2]), *map(_words, labels))
    return all(len(word) == 1 or word in known for word in _words(base))


def _bound(base: str, row: RecordingRow) -> str:
    """Return the name as a key, with its folder if it is too short to be unique."""
    own = re.sub(r"[\W_]+", "", base)
    for word in _NO_NAMES & _words(base):
        own = own.replace(word, "")
    return base if len(own) >= _WEAK or sum(map(str.isalpha, own)) >= _WORD else f"{_name_scope(row)}/{base}"


def _cut_key(name: ClipName, row: RecordingRow) -> str | None:
    """Return a key of the recording that a clip was cut from; None if its name does not identify one."""
    named = next((base for base in name.recording_names if not _names_no_recording(base, row)), None)
    if named is not None:
        return _bound(named, row)
    return f"{_name_scope(row)}/{''.join(name.recording_names[:1])}" if name.is_range else None


def _cut_keys(rows: Sequence[RecordingRow]) -> Keys:
    """Return keys of the recordings that clips were cut from, also for the recordings with these names themselves."""
    bases: list[set[str]] = []
    for row in rows:
        names = [name for stem in _names(row) if (name := parse_clip_name(stem, row.duration_s))]
        bases.append({key for name in names if (key := _cut_key(name, row))})
    known = set().union(*bases)
    return [
        tuple(sorted(own | ({_bound(stem.casefold(), row) for stem in _names(row)} & known)))
        for own, row in zip(bases, rows, strict=True)
    ]


@dataclass(frozen=True)
class SeriesMember:
    """A file of a numbered series, with the number (or letter, as its place in the alphabet) that distinguishes it.

    Attributes:
        row: index of the file's row in the rows of the data set.
        number: the number; the first one if the name has two, such as start and end of a clip.
        end: the second number; None if the name has only one.
        has_separator: True if a separator is between name and number, as in `creek_2` and not in `creek2`; see
            `clip_names.RunningNumber`.
    """

    row: int
    number: int
    end: int | None = None
    has_separator: bool = True


@dataclass(frozen=True)
class Series:
    """Files of one folder whose names differ only in a number or letter, see `SeriesMember`."""

    folder: str
    """Folder of the files; for files uploaded to the server, which are in one folder, their species or kind."""
    base: str
    """The part that the files' names share, in lower case and without signs around it; `*` replaces a number inside."""
    members: tuple[SeriesMember, ...]
    """The files, in ascending order of their numbers."""
    length_s: float | None
    """Equal length of the files, of which the last may be shorter; 0 if the lengths are unknown. None if the lengths
    differ or are above `MAX_CLIP_S` (60 s)."""

    @property
    def row_indices(self) -> tuple[int, ...]:
        """Indices of the rows of `members`, in their order."""
        return tuple(member.row for member in self.members)

    @property
    def has_separator(self) -> bool:
        """True if a separator is between name and number in each file, as in `creek_2` and not in `creek2`."""
        return all(member.has_separator for member in self.members)


def _given_stem(row: RecordingRow) -> str:
    """Return the stem of the file's original name."""
    named = _names(row)
    return (named[-1] if _has_server_name(row) else named[0]) if named else ""


Read = Callable[[str, int], tuple[str, SeriesMember] | None]
"""Function of a stem and a row index that returns the base name and the member; None if the stem has no number."""


def _read_two_numbers(stem: str, row: int) -> tuple[str, SeriesMember] | None:
    two = two_numbers(stem)
    if two is None or two.end <= two.start:
        return None
    return "".join(two.clip_name.recording_names[:1]), SeriesMember(row, two.start, two.end)


def _read_running(
    reader: Callable[[str], RunningNumber | None], stem: str, row: int
) -> tuple[str, SeriesMember] | None:
    running = reader(stem)
    if running is None:
        return None
    return running.base, SeriesMember(row, running.number, has_separator=running.has_separator)


def _series(rows: Sequence[RecordingRow], numbers: Iterable[int], read: Read) -> list[Series]:
    """Return the series of two or more files among the rows with the indices `numbers`."""
    by_base: dict[tuple[str, str], list[SeriesMember]] = defaultdict(list)
    for k in numbers:
        parsed = read(_given_stem(rows[k]), k)
        if parsed is not None:
            base, member = parsed
            by_base[_name_scope(rows[k]), base].append(member)
    series = []
    for (folder, base), members in by_base.items():
        members.sort(key=lambda member: (member.number, member.row))
        if len(members) > 1:
            lengths = [rows[member.row].duration_s or 0.0 for member in members]
            series.append(Series(folder, base, tuple(members), _common_length_s(lengths)))
    return series


def _common_length_s(lengths: Sequence[float]) -> float | None:
    whole = lengths[:-1] or lengths
    is_equal = max(whole) - min(whole) <= _SAME_S and lengths[-1] <= max(whole) + _SAME_S
    return max(whole) if is_equal and max(whole) <= MAX_CLIP_S else None


def _is_even(series: Series) -> bool:
    """Return True if all members with two numbers have the same difference; the last one may have a smaller one."""
    steps = [member.end - member.number for member in series.members if member.end is not None]
    return not steps or (len(set(steps[:-1])) == 1 and steps[-1] <= steps[0])


def _are_adjoining_times(series: Series) -> bool:
    """Return True if members with two numbers have equal differences, and one starts where its predecessor ends."""
    return _is_even(series) and any(first.end == second.number for first, second in pairwise(series.members))


def _are_offsets(series: Series) -> bool:
    """Return True if three or more numbers are multiples of the clips' length, as 0, 3, 6 for clips of 3 s."""
    whole_s = round(series.length_s or 0.0)
    if whole_s < _MIN_OFFSET_S or abs(whole_s - (series.length_s or 0.0)) > _SAME_S or len(series.members) <= 2:
        return False
    numbers = {member.number for member in series.members}
    return len(numbers) == len(series.members) and all(number % whole_s == 0 for number in numbers)


def _are_clips(series: Series, others: int, row: RecordingRow) -> bool:
    """Return True if names and lengths show that a series is clips of one recording, not separate recordings.

    Running numbers alone are no evidence: `a_1` and `a_2` may be two recordings. Evidence is an equal length and a name
    with many digits (`DR0000_0123`); or `others` (the number of other series and clips in the folder) above 0, together
    with an equal length or a name that ends in a digit.
    """
    if not series.has_separator or _names_no_recording(series.base, row):
        return False
    is_of_one_length = bool(series.length_s)
    if is_of_one_length and sum(map(str.isdigit, series.base)) >= _MIN_DIGITS:
        return True
    if not _words(series.base):  # a short number may be that of a class
        return False
    return others > 0 and (is_of_one_length or series.base[-1:].isdigit())


def _are_numbered_clips(series: Series, others: int, row: RecordingRow) -> bool:
    return (series.has_separator and _are_offsets(series)) or _are_clips(series, others, row)


def _are_lettered_clips(series: Series, others: int, row: RecordingRow) -> bool:
    """Return True if the letters are a, b, c, ... without a gap, and `_are_clips`."""
    numbers = [member.number for member in series.members]
    return numbers == [*range(1, len(numbers) + 1)] and _are_clips(series, others, row)


def _are_adjoining_clips(series: Series, _others: int, _row: RecordingRow) -> bool:
    return _are_adjoining_times(series)


def _are_not_known(_series: Series, _others: int, _row: RecordingRow) -> bool:
    """Return False: a number inside a name may mean anything, so such series are only reported."""
    return False


_READERS: tuple[tuple[Read, Callable[[Series, int, RecordingRow], bool]], ...] = (
    (_read_two_numbers, _are_adjoining_clips),
    (partial(_read_running, number_at_end), _are_numbered_clips),
    (partial(_read_running, letter_at_end), _are_lettered_clips),
    (partial(_read_running, number_at_start), _are_numbered_clips),
    (partial(_read_running, number_inside), _are_not_known),
)
"""Readers of numbers in names, the most specific first, each with the function that tells if a series is clips."""


@dataclass(frozen=True)
class NumberedSeries:
    """The numbered series of a data set."""

    clips: tuple[Series, ...]
    """Series of clips; the files of a series were cut from one recording."""
    undecided: tuple[Series, ...]
    """Series of equal or unknown length that may be clips of one recording or separate recordings."""


def _find_numbered_series(rows: Sequence[RecordingRow]) -> NumberedSeries:
    cut_keys = _cut_keys(rows)
    free = {k for k, keys in enumerate(cut_keys) if not keys and not _is_named_otherwise(rows[k])}
    has_clips = {_name_scope(row) for row, keys in zip(rows, cut_keys, strict=True) if keys}
    clips: list[Series] = []
    doubtful: list[Series] = []
    for read, are_clips in _READERS:
        by_base = _series(rows, sorted(free), read)
        n_with_separator = Counter(series.folder for series in by_base if series.has_separator)
        for series in by_base:
            others = n_with_separator[series.folder] - 1 + (series.folder in has_clips)
            if are_clips(series, others, rows[series.row_indices[0]]):
                clips.append(series)
                free.difference_update(series.row_indices)
            elif (series.length_s is not None or _IDENTIFIER.fullmatch(series.base)) and _is_even(series):
                doubtful.append(series)
        has_clips |= {series.folder for series in clips}
    undecided = []
    for series in doubtful:
        if free.issuperset(series.row_indices):
            undecided.append(series)
            free.difference_update(series.row_indices)
    return NumberedSeries(tuple(clips), tuple(undecided))


def _is_named_otherwise(row: RecordingRow) -> bool:
    return any(archive_number(stem) or recorder_name(stem) for stem in _names(row))


def _numbered_keys(rows: Sequence[RecordingRow]) -> Keys:
    keys: Keys = [()] * len(rows)
    for series in _find_numbered_series(rows).clips:
        for k in series.row_indices:
            keys[k] = (f"{series.folder}/{series.base}",)
    return keys


def undecided_series(rows: Sequence[RecordingRow]) -> Iterator[list[RecordingRow]]:
    """Yield a list of rows for each series of numbered files that may be clips of one recording or many recordings.

    The rows of a series are in ascending order of their numbers.
    """
    for series in _find_numbered_series(rows).undecided:
        yield [rows[k] for k in series.row_indices]


@dataclass(frozen=True)
class Relation:
    """A reason to keep recordings in one split: recordings that share a key are related.

    Attributes:
        name: phrase for reports, such as "the same recorder and start".
        keys: function of rows that returns a tuple of keys for each row, () if the row lacks the necessary data.
    """

    name: str
    keys: Callable[[Sequence[RecordingRow]], Keys]
    needs: str
    """Data that a recording needs for this relation, as text to complete "no recording has ..."."""
    is_known: Callable[[RecordingRow], bool] | None = None
    """Function that returns True if a row has the data for this relation; None: rows with a key have the data."""
    is_of_one_recording: bool = True
    """True if related recordings are (parts of) one recording, so they count as one piece of evidence."""


ARCHIVE = Relation("the same number of an archive", _archive_keys, "the number of an archive in its name or URL")
RECORDER = Relation("the same recorder and start", _recorder_keys, "a recorder and a start time in its name")

RELATIONS: tuple[Relation, ...] = (
    Relation(
        "the same recordist, location and day",
        partial(_by_row, same_recordist_and_day),
        "a recordist and a date",
        is_of_one_recording=False,
    ),
    Relation("the same group", partial(_by_row, lambda row: row.given_group), "a group that its source gives"),
    ARCHIVE,
    RECORDER,
    Relation(
        "clips of one recorder's night",
        _night_keys,
        "a recorder and a detection's time to the thousandth of a second in its name",
        is_of_one_recording=False,
    ),
    Relation("cut from the same recording", _cut_keys, "times or a part in its name"),
    Relation("numbered clips of the same recording", _numbered_keys, "a number that is known to be a clip's"),
    Relation(
        "the same sound", partial(_by_row, lambda row: row.audio_hash), "been decoded; run `dawnchorus data check`"
    ),
    Relation(
        "nearly the same sound",
        partial(_by_row, lambda row: row.duplicate_of or row.recording_id),
        "been decoded; run `dawnchorus data check`",
        is_known=lambda row: row.audio_hash is not None,
    ),
    Relation(
        "files of the same bytes",
        partial(_by_row, lambda row: row.content_hash),
        "been opened; run `dawnchorus data import`",
    ),
    Relation("the same file", partial(_by_row, lambda row: row.path or None), "a path"),
)
"""Relations that keep recordings in one split."""

SAME_RECORDING = tuple(relation for relation in RELATIONS if relation.is_of_one_recording)


def assign_groups(rows: Sequence[RecordingRow], relations: Sequence[Relation] = RELATIONS) -> list[int]:
    """Return a group number for each row, which directly or indirectly related rows share.

    A group's number is the index in `rows` of one row of the group, so numbers are not consecutive. An unrelated row is
    a group by itself. `relations` are the relations that count, by default all.
    """
    parent = list(range(len(rows)))
    for relation in relations:
        first: dict[str, int] = {}
        for k, keys in enumerate(relation.keys(rows)):
            for key in keys:
                parent[_find_root(parent, k)] = _find_root(parent, first.setdefault(key, k))
    return [_find_root(parent, k) for k in range(len(rows))]


def _find_root(parent: list[int], k: int) -> int:
    """Return the root of row `k` in a union-find forest, halving its path."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@dataclass(frozen=True)
class Leak:
    """Two related recordings in different splits, with the reason."""

    relation: str
    """Name of the relation (`Relation.name`), such as "cut from the same recording"."""
    first: RecordingRow
    """The recording that is earlier in the table."""
    second: RecordingRow
    """The recording that is later in the table, and in another split."""


def find_leaks(rows: Sequence[RecordingRow], split_of: Callable[[RecordingRow], str | None]) -> Iterator[Leak]:
    """Yield a leak for each relation and recording that has a related recording in another split.

    Of the recordings that share a key, each is compared only with the first one that is in a split; recordings in no
    split are ignored. There is at most one leak for each relation and recording.

    Args:
        rows: the recordings.
        split_of: function that returns the split of a row; None: the row is in no split.
    """
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
    """A relation, and the number of recordings that have the data for this relation, `n_known`."""

    relation: Relation
    n_known: int


def check_coverage(rows: Sequence[RecordingRow]) -> tuple[Coverage, ...]:
    """Return the coverage of each of `RELATIONS`, in this order: the number of rows that have the data for it."""
    return tuple(
        Coverage(
            relation,
            sum(map(bool, relation.keys(rows))) if relation.is_known is None else sum(map(relation.is_known, rows)),
        )
        for relation in RELATIONS
    )


def n_longer_than_fingerprints(rows: Sequence[RecordingRow]) -> int:
    """Return the number of recordings longer than 120 s, of which fingerprints only compare these first seconds.

    Recordings of unknown length do not count.
    """
    return sum((row.duration_s or 0.0) > MAX_S for row in rows)
