"""Conversion of marks (rows of annotation tables) to annotations, with checks against their recordings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from dawnchorus.data.layouts.annotations import MarkTables, NamedMark
from dawnchorus.data.recordings import Annotation, RecordingRow
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, is_unnamed
from dawnchorus.types import Detection

NEARLY_S = 0.1
"""Tolerance for times outside a recording: times are rounded, and lengths of MP3 files are estimates."""

_MAX_NAMED = 3

_OUTCOMES = {
    "unread": "that could not be read: left out",
    "no recording": "of a recording that is not here: left out",
    "no number": "with times that are no numbers: left out",
    "beyond": "beyond the end of their recording: left out",
    "other time": "whose times can be of their file or count on from file to file: left out, because the column 'File "
    "Offset (s)' would have to say which",
    "cut": "longer than their recording: cut at its ends",
    "reversed": "that end before they start: read from their end to their start",
    "moment": "of no length: kept as moments",
    "frequencies": "with frequencies in the wrong order or outside of their recording's: put in order, and cut",
    "channel": "of a channel that their recording does not have: kept without it",
    "two species": "whose two names are of two species: kept as a sound that may be of any species",
    "view": "of the same selection in another view: counted once",
    "twice": "that are there twice: kept once",
    "rejected": "that are rejected in their own table (columns such as Reject or Valid): left out",
    "unverified": "that are not confirmed in their own table (columns such as Verified, words such as "
    "maybe): kept as a sound that may be of any species",
    "unnamed": "without a species (blank, '?', unknown): kept as a sound that may be of any species",
    "no bird": "of other sounds or of none (nocall, noise): no species, but the recording was annotated",
    "empty row": "without times and name: the recording was annotated",
}
"""Outcomes of rows that are not kept as they are, with their wording in messages."""


MarksByPath = dict[Path, list[tuple[Annotation, NamedMark]]]
"""Annotations by recording, each with its row."""


@dataclass
class MatchedMarks:
    """Annotations by recording, and the outcome of each row."""

    annotations: dict[Path, tuple[Annotation, ...]] = field(default_factory=dict)
    """Annotations by annotated recording, in order of time; () if the recording was annotated and nothing was found."""
    n_rows: int = 0
    """Number of rows in all tables of marks."""
    n_tables: int = 0
    """Number of tables of marks."""
    n_kept: int = 0
    """Number of annotations in `annotations`."""
    outcomes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Descriptions of rows that were changed or left out (`a.txt line 3: 1 to 2 s`), by outcome; a row may have two.

    Left out: "unread" (not readable), "no recording" (of one that is not here), "no number" (its times are no numbers),
    "beyond" (after the recording's end), "other time" (counted from the start of its file or of the first file, and
    nothing says which), "rejected" (by its own table), "view" (a selection's row in another view), "twice" (repeated),
    "no bird" and "empty row" (the recording was annotated, without a bird here).

    Changed: "cut" (at the recording's ends), "reversed" (it ended before its start), "frequencies" (put in order and
    cut), "channel" (removed, as the recording has no such channel), "moment" (of no length, and kept so). Kept without
    a species: "two species" (its two names differ), "unverified" (by its own table), "unnamed".
    """
    n_scored: int = 0
    """Number of rows with the score of a model, without unreadable and rejected rows and those of no recording."""

    def notes(self) -> Iterator[str]:
        """Yield sentences with the numbers of rows that were read, kept, and changed or left out, by reason."""
        if self.n_tables:
            yield f"marks: rows {self.n_rows}, in tables {self.n_tables}; kept as annotations {self.n_kept}."
            empty = [path.name for path, marks in self.annotations.items() if not marks]
            nothing = f", nothing in {len(empty)} of them ({', '.join(empty[:_MAX_NAMED])})" if empty else ""
            yield f"annotated recordings: {len(self.annotations)}{nothing}."
        for outcome, words in _OUTCOMES.items():
            rows = self.outcomes.get(outcome, ())
            if rows:
                more = f"; and {len(rows) - _MAX_NAMED} more" if len(rows) > _MAX_NAMED else ""
                yield f"marks {words}: {len(rows)} ({'; '.join(rows[:_MAX_NAMED])}{more})."
        if self.n_scored:
            yield (
                f"marks that have a score: {self.n_scored}. Tables with scores are mostly the output of a "
                f"model: they are annotations only if a person checked all of it."
            )


def match_marks(
    marks: MarkTables,
    durations: Mapping[Path, float | None],
    files: Sequence[Path],
    *,
    rows: Mapping[Path, RecordingRow] = MappingProxyType({}),
    known: KnownClasses | None = None,
) -> MatchedMarks:
    """Convert marks to annotations, checking each against its recording's length, sample rate and channels.

    Marks beyond the recording are left out, those that exceed it are cut, and equal marks are kept once;
    `MatchedMarks.outcomes` has each such row.

    Args:
        marks: rows of annotation tables, matched with recordings.
        durations: length of each recording in seconds; None if unknown, and then not compared.
        files: all recordings; some tables count time from file to file through all files of a folder.
        rows: rows of the recordings by path, with sample rate and number of channels; for a recording without a row,
            these are not checked.
        known: known classes; a mark whose scientific and common name are two different classes loses its species.
            None: not checked.
    """
    matched = MatchedMarks(n_rows=len(marks.marks), n_tables=len(marks.tables))
    kept: MarksByPath = {path: [] for path in marks.empty}
    by_table: dict[Path, list[NamedMark]] = defaultdict(list)
    for each in marks.marks:
        by_table[each.table].append(each)
    for of_table in by_table.values():
        for each in _within_files(matched, of_table, durations, files):
            _match(matched, kept, each, durations, rows, known)
    matched.annotations = {path: tuple(sorted(_once(matched, each), key=_order)) for path, each in kept.items()}
    matched.n_kept = sum(map(len, matched.annotations.values()))
    return matched


def _order(mark: Annotation) -> tuple[float, float, str]:
    return mark.start_s, mark.end_s, mark.scientific_name


def _note(matched: MatchedMarks, outcome: str, each: NamedMark, more: str = "") -> None:
    text = f"{each.table.name} line {each.mark.line}"
    detection = each.mark.detection
    if detection is not None:
        text += f": {detection.start_s:g} to {detection.end_s:g} s"
    matched.outcomes[outcome].append(text + (f", {more}" if more else ""))


def _match(
    matched: MatchedMarks,
    kept: MarksByPath,
    each: NamedMark,
    durations: Mapping[Path, float | None],
    rows: Mapping[Path, RecordingRow],
    known: KnownClasses | None,
) -> None:
    """Add a row's mark to the annotations of its recording, or record its other outcome."""
    recording, detection = each.recording, each.mark.detection
    if each.mark.problem:
        _note(matched, "unread", each, each.mark.problem)
        return
    if recording is None:
        _note(matched, "no recording", each, each.reason)
        return
    if detection is None:
        _note(matched, "empty row", each)
        kept.setdefault(recording, [])
        return
    if each.mark.review == "rejected":
        _note(matched, "rejected", each)
        return
    if each.mark.is_scored:
        matched.n_scored += 1
    if detection.kind == "sound":
        _note(matched, "no bird", each, detection.scientific_name)
        kept.setdefault(recording, [])
        return
    times = _times(matched, each, detection, durations.get(recording))
    if times is None:
        return
    name = detection.scientific_name.strip()
    if each.mark.review == "unverified":
        _note(matched, "unverified", each)
        name = ""
    elif is_unnamed(name):
        _note(matched, "unnamed", each, repr(name) if name else "")
        name = ""
    elif known is not None and _has_two_species(detection, known):
        _note(matched, "two species", each, f"{name} and {detection.common_name}")
        name = ""
    low_hz, high_hz = _frequencies(matched, each, detection, rows.get(recording))
    mark = Annotation(start_s=times[0], end_s=times[1], scientific_name=name, low_hz=low_hz, high_hz=high_hz)
    kept.setdefault(recording, []).append((mark, each))


def _has_two_species(detection: Detection, known: KnownClasses) -> bool:
    """Return True if scientific and common name of a detection are of two different known classes."""
    names = detection.scientific_name, detection.common_name
    first, second = (known.find(Label(name, name)) for name in names)
    return first is not None and second is not None and first != second


def _frequencies(
    matched: MatchedMarks, each: NamedMark, detection: Detection, row: RecordingRow | None
) -> tuple[float | None, float | None]:
    """Return lower and upper frequency in Hz, limited to half the sample rate; also check the channel."""
    if row is not None and row.n_channels and (detection.channel or 1) > row.n_channels:
        _note(matched, "channel", each, f"channel {detection.channel} of {row.n_channels}")
    low_hz, high_hz = detection.low_hz, detection.high_hz
    top_hz = row.rate_hz / 2 if row is not None and row.rate_hz else math.inf
    given = [value for value in (low_hz, high_hz) if value is not None]
    if given == sorted(given) and all(0 <= value <= top_hz for value in given):
        return low_hz, high_hz
    _note(matched, "frequencies", each, f"{' to '.join(f'{value:g}' for value in given)} Hz")
    if not all(map(math.isfinite, given)) or min(given) >= top_hz or max(given) <= 0:
        return None, None
    inside = [min(max(value, 0.0), top_hz) for value in sorted(given)]
    return (inside[0], inside[1]) if len(inside) > 1 else (low_hz and inside[0], high_hz and inside[0])


def _times(
    matched: MatchedMarks, each: NamedMark, detection: Detection, duration_s: float | None
) -> tuple[float, float] | None:
    """Return start and end in seconds, limited to the recording; None if the mark is outside or has no times."""
    start_s, end_s = detection.start_s, detection.end_s
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        _note(matched, "no number", each)
        return None
    if end_s < start_s:
        _note(matched, "reversed", each)
        start_s, end_s = end_s, start_s
    last_s = math.inf if duration_s is None else duration_s
    length = "" if duration_s is None else f"of {duration_s:g} s"
    if start_s > last_s or end_s < 0 or (start_s == last_s and end_s > last_s):
        _note(matched, "beyond", each, length)
        return None
    if end_s > last_s + NEARLY_S or start_s < -NEARLY_S:
        _note(matched, "cut", each, length)
    start_s, end_s = max(start_s, 0.0), min(end_s, last_s)
    if start_s == end_s:
        _note(matched, "moment", each)
    return start_s, end_s


def _within_files(
    matched: MatchedMarks, rows: Sequence[NamedMark], durations: Mapping[Path, float | None], files: Sequence[Path]
) -> Iterator[NamedMark]:
    """Yield the rows of a table, each selection once, with times relative to the start of their file."""
    rows = list(_in_one_view(matched, rows))
    open_rows = [row for row in rows if _may_count_on(row)]
    sequences = [{}] if not open_rows else list(_readings(open_rows, durations, files, may_cross=False))
    # A mark over the border of two files fits in none; it is cut at the end of the one that it begins in.
    sequences = sequences or list(_readings(open_rows, durations, files, may_cross=True))
    if len(sequences) == 1:
        yield from (_earlier(row, sequences[0]) for row in rows)
        return
    for row in rows:
        if not _may_count_on(row):
            yield row
        elif sequences:
            _note(matched, "other time", row, f"of {row.mark.recording}")
        else:
            yield row  # no reading fits all rows: each is held against its own file


def _may_count_on(row: NamedMark) -> bool:
    return row.recording is not None and row.mark.detection is not None and not row.mark.is_within_file


def _earlier(row: NamedMark, before_s: Mapping[Path, float]) -> NamedMark:
    detection = row.mark.detection
    if detection is None or row.recording is None or row.recording not in before_s or row.mark.is_within_file:
        return row
    by_s = before_s[row.recording]
    moved = replace(detection, start_s=detection.start_s - by_s, end_s=detection.end_s - by_s)
    return replace(row, mark=replace(row.mark, detection=moved))


def _readings(
    rows: Sequence[NamedMark], durations: Mapping[Path, float | None], files: Sequence[Path], *, may_cross: bool
) -> Iterator[dict[Path, float]]:
    """Yield each interpretation of a table's times that fits all rows, as the offset in seconds of each file.

    Times are relative to each file, or continue over the files in the table, or over all files of their folders. With
    `may_cross`, a mark may end in the next file; only continuing times of several files are then tried.
    """
    named = list(dict.fromkeys(row.recording for row in sorted(rows, key=_start_s) if row.recording is not None))
    folders = {path.parent for path in named}
    of_folders = sorted((path for path in files if path.parent in folders), key=lambda path: path.as_posix().casefold())
    seen: list[dict[Path, float]] = []
    for order in (named, of_folders) if may_cross else ([], named, of_folders):
        if len(named) == 1 and (seen or may_cross):
            return  # a table of one file: its times are within it, if they can be
        before_s = _before(order, durations) if order else dict.fromkeys(named, 0.0)
        if before_s is None or not all(_fits(row, before_s, durations, may_cross=may_cross) for row in rows):
            continue
        reading = {path: before_s[path] for path in named}
        if reading not in seen:
            seen.append(reading)
            yield reading


def _start_s(row: NamedMark) -> float:
    return row.mark.detection.start_s if row.mark.detection is not None else 0.0


def _before(order: Iterable[Path], durations: Mapping[Path, float | None]) -> dict[Path, float] | None:
    """Return the total length in seconds of the files before each file; None if a length is not known."""
    before_s, total_s = {}, 0.0
    for path in order:
        duration_s = durations.get(path)
        if duration_s is None:
            return None
        before_s[path] = total_s
        total_s += duration_s
    return before_s


def _fits(
    row: NamedMark, before_s: Mapping[Path, float], durations: Mapping[Path, float | None], *, may_cross: bool
) -> bool:
    detection, recording = row.mark.detection, row.recording
    if detection is None or recording is None:
        return True
    first, last = sorted((detection.start_s - before_s[recording], detection.end_s - before_s[recording]))
    duration_s = durations.get(recording)
    return first >= -NEARLY_S and (duration_s is None or (first if may_cross else last) <= duration_s + NEARLY_S)


def _in_one_view(matched: MatchedMarks, rows: Iterable[NamedMark]) -> Iterator[NamedMark]:
    """Yield the rows without repetition of a selection in Raven's views; the spectrogram's row is preferred."""
    first: dict[tuple[object, ...], NamedMark] = {}
    for row in rows:
        mark, detection = row.mark, row.mark.detection
        key: tuple[object, ...] = (mark.line,)
        if mark.selection is not None and mark.view is not None and detection is not None:
            key = (mark.selection, row.recording, mark.recording, detection.start_s, detection.end_s)
        other = first.get(key)
        if other is None or other.mark.view == mark.view:
            first[key if other is None else (*key, mark.line)] = row
            continue
        is_wave = (other.mark.view or "").lower().startswith("wave")
        _note(matched, "view", other if is_wave else row)
        if is_wave:
            first[key] = row
    return iter(first.values())


def _once(matched: MatchedMarks, marks: Iterable[tuple[Annotation, NamedMark]]) -> Iterator[Annotation]:
    """Yield the annotations of a recording without repetition."""
    seen: dict[Annotation, NamedMark] = {}
    for mark, each in marks:
        if mark in seen:
            first = seen[mark]
            _note(matched, "twice", each, f"as {first.table.name} line {first.mark.line}")
        else:
            seen[mark] = each
            yield mark
