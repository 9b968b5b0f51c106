"""Readers of annotation lists with columns for recording, start, end and label, as in OpenSoundscape.

A mark is one annotated sound, a row of such a list. The list may have a duration in place of the end, and in place of
the label one column per class, with 1 or POS if the class is present, 0 or NEG if it is absent, and UNK if unknown.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.text import NamedColumns
from dawnchorus.tables import column_keys, header_key, headers
from dawnchorus.tables.text_files import read_text
from dawnchorus.taxonomy.labels import names_no_species, parse_label
from dawnchorus.types import Detection, Mark

LIST, LIST_OF_ONE = "list", "list of one recording"
"""Kinds of lists: with a column for the recording, and without; the latter is named after its recording."""

_RECORDING = (
    "recording",
    "audio_file",
    "audiofilename",
    "file",
    "filename",
    "file_name",
    "filepath",
    "path",
    "begin file",
    "in file",
    "recording_id",
    "input",
    *headers.FILE,
)
_FOLDER = ("folder", "subfolder", "directory", "ordner", "dossier", "carpeta", "site", "station", "plot", "standort")
"""Columns of folders: Kaleidoscope's `FOLDER`, and sites, which often have a folder of their name."""
_START = (
    *("start_time", "start_s", "start", "start_offset_s", "start (s)", "onset", "begin", "begin_time", "start time"),
    *("t_min", "min_t", "onset_s", "start_seconds", "event_start_seconds", "start_sec"),
    *("window_start", "begin_s", "begin_sec", "begin_seconds"),
    *headers.START,
)
_END = (
    *("end_time", "end_s", "end", "end_offset_s", "end (s)", "offset", "end time", "stop"),
    *("t_max", "max_t", "offset_s", "stop_s", "stop_seconds", "end_seconds", "event_end_seconds", "end_sec"),
    *("window_end", "stop_sec"),
    *headers.END,
)
_DURATION = ("duration", "duration_s", *headers.DURATION)
_START_BEFORE_DURATION = (*_START, "offset")
"""Columns of a start that may have a duration next to it: Kaleidoscope's `OFFSET` is the start of its `DURATION`."""
_LABEL = (
    *("scientific_name", "scientific name", "species", "species_name", "annotation", "label", "label:species"),
    *("class", "name"),
    *("manual id", "specie", "latin name", "common name", "species ebird code", "ebird code", "primary_label"),
    *(*headers.SCIENTIFIC_NAME, *headers.SPECIES, *headers.COMMON_NAME, *headers.LABEL),
)
_LOW = ("low_f", "min_f", "low_hz", "low freq (hz)", *headers.LOW_HZ)
_HIGH = ("high_f", "max_f", "high_hz", "high freq (hz)", *headers.HIGH_HZ)
_KIND = ("label_type",)
"""Column of Perch-Hoplite with "positive", "negative" (a person looked for the class and found none) or "uncertain"."""

_PRESENT, _ABSENT = frozenset(("1", "1.0", "true", "pos")), frozenset(("0", "0.0", "false", "neg", ""))
_UNCERTAIN = frozenset(("unk",))
_NAMELESS_CLASS = "q"
"""Column for a file's only class, which is not named, in data sets of DCASE."""

_ZONE = re.compile(r"(?<![^\W_])(?:utc|gmt|local|lokal|[-+]\d\d:?\d\d)(?![^\W_])", re.IGNORECASE)
"""Time zone in a column's name; the times of such a column are clock times, and not times in a recording."""

_MIN_KNOWN = 2
"""Minimum number of known columns for a table to be described as a list of marks that lacks columns."""

_DELIMITERS = ",;\t"
_N_ROWS = 20
"""Number of rows that are read to find out which columns are classes."""


def detect_list_kind(text: str) -> str | None:
    """Return the kind of a list of marks: "list" (`LIST`) or "list of one recording" (`LIST_OF_ONE`); None for no list.

    A list has columns of start, end (or duration) and label; the kind is `LIST` if it has a column of recordings, too.
    With that column, columns of classes may replace the label. `text` has the first lines of the file.
    """
    names, rows = _first_rows(text)
    span = _spans(names)
    if span is None or any(_ZONE.search(names[index]) for index in span[:2]):
        return None
    has_labels = _column(names, _LABEL) is not None
    if _column(names, _RECORDING) is None:
        return LIST_OF_ONE if has_labels else None
    return LIST if has_labels or _class_columns(names, rows) else None


def has_columns(text: str, names: Collection[str]) -> bool:
    """Return True if the header in `text`, a file's first lines, has all columns `names`.

    Case, accents and punctuation of the names are ignored.
    """
    return set(map(header_key, names)) <= set(column_keys(_first_rows(text)[0]))


def describe_missing_columns(text: str) -> str:
    """Describe the columns that a list of marks has and lacks, from `text`, the first lines of its file.

    An example is "'file' for recording, 'begin' for start, but no column for end and label". Empty if start, end and
    label have columns, or if fewer than two of recording, start, end and label have one.
    """
    names, _ = _first_rows(text)
    ends = (*_END, *_DURATION)
    roles = {"recording": _RECORDING, "start": _START, "end": ends, "label": _LABEL}
    indices = {role: _column(names, of) for role, of in roles.items()}
    known = [f"'{names[index]}' for {role}" for role, index in indices.items() if index is not None]
    missing = [role for role, index in indices.items() if index is None and role != "recording"]
    if len(known) < _MIN_KNOWN or not missing:
        return ""
    others = [name for index, name in enumerate(names) if index not in indices.values()]
    of_others = f"; its other columns are {', '.join(others)}" if others else ""
    return f"{', '.join(known)}, but no column for {' and '.join(missing)}{of_others}"


def _first_rows(text: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the first complete rows; two empty lists for a text that is not a table."""
    lines = text.splitlines()[: _N_ROWS + 1]
    try:
        names, *rows = csv.reader(lines or [""], delimiter=_delimiter(lines[0] if lines else ""))
    except csv.Error:
        return [], []
    return names, [row for row in rows if len(row) == len(names)]


def has_times(path: Path) -> bool:
    """Return True for a list of marks with a column of recordings, in which most rows have numeric start and end times.

    In place of an end, a row may have a duration. False for other files, also for a list of one recording.

    Raises:
        FormatError: the file is not text, or its rows are not CSV.
    """
    text = read_text(path)
    if detect_list_kind(text) != LIST:
        return False
    rows = NamedColumns(path, delimiter=_delimiter(text.partition("\n")[0]))
    start, end, _ = _require_span(rows)
    timed = [all(re.fullmatch(r"\s*\d[\d.,]*\s*", fields[index]) for index in (start, end)) for _, fields in rows.table]
    return sum(timed) > len(timed) / 2


def read_marks(path: Path, notes: MarkNotes | None = None) -> Iterator[Mark]:
    """Yield a `Mark` (annotation) for each row or, in a list with class columns, for each class present in a row.

    Class columns are read only without a column of labels. A class that is marked as unknown (UNK), or a row with
    another `label_type` than "positive" or "negative", becomes a mark without a name. A row that cannot be read becomes
    a mark with a problem. A row becomes a mark without a detection (a person has listened to the recording) if it has
    neither times nor a species (an empty label, or `nocall`), names a recording and has the `label_type` "negative", or
    has class columns of which none is present or unknown.
    `notes` get guesses about the file, and columns that are not read.

    Raises:
        FormatError: the file is not a table, or a required column is missing.
    """
    rows = NamedColumns(path, delimiter=_delimiter(read_text(path).partition("\n")[0]))
    recording, folder = rows.find_column(_RECORDING), rows.find_column(_FOLDER)
    if rows.find_column(_LABEL) is None:
        classes = _class_columns(rows.header, [fields for _, fields in rows.table])
        if classes:
            columns = _ClassColumns(rows, recording, folder, *_require_span(rows), tuple(classes))
            rows.use(*classes)
            if notes is not None:
                notes.add(path, f"a column for each class, 1 or POS where it is present: {columns.names()}.")
            return rows.iterate_marks(columns.marks, notes)
    label, (start, end, is_duration) = rows.require(_LABEL), _require_span(rows)
    score = rows.score_column(headers.SCORE)
    low, high, kind = (rows.find_column(names) for names in (_LOW, _HIGH, _KIND))

    def marks(line: int, fields: list[str]) -> Iterator[Mark]:
        named, text = rows.text(fields, recording), rows.text(fields, label) or ""
        site = rows.text(fields, folder)
        certainty = (rows.text(fields, kind) or "positive").lower()
        parsed = parse_label(text if certainty == "positive" else "?")
        has_times = rows.text(fields, start) is not None or rows.text(fields, end) is not None
        is_bare = not has_times and names_no_species(parsed)
        if is_bare or (named and certainty == "negative"):
            yield Mark(line, None, named, folder=site)
            return
        value = rows.number_or_none(line, fields, score)
        start_s, end_s = rows.offset_s(line, fields, start), rows.offset_s(line, fields, end)
        detection = Detection(
            start_s=start_s,
            end_s=start_s + end_s if is_duration else end_s,
            scientific_name=parsed.scientific_name,
            common_name=parsed.common_name,
            kind=parsed.kind,
            score=1.0 if value is None else value,
            low_hz=rows.number_or_none(line, fields, low),
            high_hz=rows.number_or_none(line, fields, high),
        )
        yield Mark(line, detection, named, folder=site, is_scored=value is not None)

    return rows.iterate_marks(marks, notes)


@dataclass(frozen=True)
class _ClassColumns:
    """A table with one column per class, and the indices of its columns."""

    rows: NamedColumns
    recording: int | None
    folder: int | None
    start: int
    end: int
    is_duration: bool
    classes: tuple[int, ...]

    def names(self) -> str:
        """Return the number of classes and an example, in words."""
        return f"{len(self.classes)} (as '{self.rows.header[self.classes[0]]}')"

    def marks(self, line: int, fields: list[str]) -> Iterator[Mark]:
        """Yield a `Mark` (annotation) for each present or uncertain class; if there is none, one without a detection.

        Raises:
            FormatError: a time is invalid.
        """
        named, site = self.rows.text(fields, self.recording), self.rows.text(fields, self.folder)
        start_s = self.rows.offset_s(line, fields, self.start)
        end_s = self.rows.offset_s(line, fields, self.end) + (start_s if self.is_duration else 0.0)
        names = list(self._present(fields))
        if not names:
            yield Mark(line, None, named, folder=site)
        for name in names:
            species_label = parse_label(name)
            yield Mark(
                line,
                Detection(
                    start_s, end_s, species_label.scientific_name, species_label.common_name, species_label.kind, 1.0
                ),
                named,
                folder=site,
            )

    def _present(self, fields: list[str]) -> Iterator[str]:
        for index in self.classes:
            name, value = self.rows.header[index], fields[index].strip().lower()
            if value in _UNCERTAIN or (value in _PRESENT and name.strip().lower() == _NAMELESS_CLASS):
                yield "?"
            elif value in _PRESENT:
                yield name


def _class_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the indices of class columns: all but recording, start and end, if all cells say present or absent.

    At least one cell must say absent, since else a column such as the channel number 1 would be taken for a class.
    """
    span = _spans(header)
    used = {_column(header, _RECORDING), *(span[:2] if span else ())}
    indices = [index for index, name in enumerate(header) if name.strip() and index not in used]
    cells = {row[index].strip().lower() for index in indices for row in rows}
    is_known = cells <= _PRESENT | _ABSENT | _UNCERTAIN and not cells.isdisjoint(_PRESENT)
    is_nameless = [header[index].strip().lower() for index in indices] == [_NAMELESS_CLASS]
    return indices if is_known and (is_nameless or not cells.isdisjoint(_ABSENT)) else []


def _spans(header: Sequence[str]) -> tuple[int, int, bool] | None:
    """Return the indices of start and end, and True if the latter is a duration; None if a column is missing."""
    start, end = _column(header, _START), _column(header, _END)
    if start is not None and end is not None:
        return start, end, False
    start, duration = _column(header, _START_BEFORE_DURATION), _column(header, _DURATION)
    return None if start is None or duration is None else (start, duration, True)


def _require_span(rows: NamedColumns) -> tuple[int, int, bool]:
    """Return the indices of start and end, and True if the latter is a duration; mark both columns as read.

    Raises:
        FormatError: a column is missing.
    """
    span = _spans(rows.header)
    if span is None:
        return rows.require(_START), rows.require(_END), False
    rows.use(*span[:2])
    return span


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the index of the first of `names` that is a column, with or without a unit in brackets; else None."""
    keys = column_keys(header)
    return next((keys[key] for key in map(header_key, names) if key in keys), None)


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)
