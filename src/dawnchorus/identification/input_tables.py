"""Tables that users provide: species lists, thresholds, and times and locations of recordings."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Generic, TypeVar

from dawnchorus.audio.metadata import LAST_YEAR
from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats.text import NamedColumns, near_column
from dawnchorus.storage.paths import as_path
from dawnchorus.storage.urls import is_url
from dawnchorus.tables import (
    NO_FIX,
    LocationColumn,
    Notes,
    Stamp,
    Table,
    headers,
    is_blank,
    is_without_fix,
    list_columns,
    parse_latitude,
    parse_longitude,
    posix_path,
    read_text,
)
from dawnchorus.tables.notes import counted
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, is_indeterminate, name_key, parse_label, read_label
from dawnchorus.types import RecordingMetadata

PATH_COLUMNS = (
    "path",
    "recording",
    "file",
    "filename",
    "file_path",
    "begin path",
    "begin file",
    "in file",
    *headers.FILE,
)
LOCATION_COLUMNS = (*headers.LOCATION, "location")
TIME_COLUMNS = ("start_time", *headers.TIME, *headers.MOMENT)
_USUAL_COLUMNS = (*headers.LATITUDE, *headers.LONGITUDE, *LOCATION_COLUMNS, *headers.DATE, *TIME_COLUMNS)
SPECIES_COLUMNS = ("scientific_name", "species", *headers.SCIENTIFIC_NAME, *headers.SPECIES)
SCORE_COLUMNS = ("min_score", "threshold", *headers.SCORE)

T = TypeVar("T")


@dataclass(frozen=True)
class InputTable(Generic[T]):
    """Values that a reader of this module read from a user's table, and sentences on the table."""

    values: T
    """Values of all rows that were not left out, of the type that the reader's annotation names."""
    notes: tuple[str, ...] = ()
    """Sentences for the user on what was guessed, left out or not read."""


@dataclass(frozen=True)
class DatedMetadata(RecordingMetadata):
    """Metadata of a recording whose date is known but not its time of day."""

    day: date | None = None
    """The date; None if unknown."""


def _require_file(path: Path) -> None:
    """Raise InputError for a path that cannot be read; pipes, such as the shell's `<(...)`, can be read."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        mode = 0
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise InputError("no such file.", subject=path)


def read_species_list(path: Path) -> InputTable[tuple[str, ...]]:
    """Read species names, one per line: `Parus major`, `Parus major_Great Tit` or `Great Tit`.

    Of `Parus major_Great Tit`, the scientific name is returned; of a line with one name, that name (as `parse_label`
    reads it). The file may also be a table with a column scientific_name. Empty lines, lines that begin with `#`, and
    quotes around a line are ignored. A name that appears twice is returned twice, with a note.

    Raises:
        InputError: no such file, or no names.
        FormatError: the file is not text.
    """
    _require_file(path)
    notes = Notes()
    lines = [line.strip().strip('"').strip() for line in _species_lines(path, read_text(path, notes))]
    given = [line for line in lines if line and not line.startswith("#")]
    if not given:
        raise InputError("expected one species in a line, found none.", subject=path)
    first: dict[str, str] = {}
    names = tuple(parse_label(line).scientific_name for line in given)
    doubled = [
        (first[key], line)
        for line, key in zip(given, map(name_key, names), strict=True)
        if first.setdefault(key, line) is not line
    ]
    if doubled:
        notes.add(f"names that are there twice: {len(doubled)}, as {doubled[0][0]!r} and {doubled[0][1]!r}.")
    return InputTable(names, _sentences(path, notes))


def _species_lines(path: Path, text: str) -> list[str]:
    """Return the lines of a list, or the cells of a table's species column."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return []
    table = Table(path, text=text)
    column = table.find_column(SPECIES_COLUMNS)
    return lines if column is None else list(table.column(column))


def read_thresholds(path: Path, labels: Sequence[Label] = ()) -> InputTable[dict[str, float]]:
    """Read minimum scores by species name, from a table with columns scientific_name and min_score.

    `labels` are the model's classes, by which different names of the same species are recognized. A species that is
    in several lines is returned once, by its name in the first of them; of `Parus major_Great Tit`, by the scientific
    name. An empty table gives no thresholds, and a note.

    Raises:
        InputError: no such file.
        FormatError: a column is missing, a name is not that of one species, a score is not a number from 0 to 1, or a
            species has two scores.
    """
    _require_file(path)
    rows = NamedColumns(path)
    species, score = rows.require(SPECIES_COLUMNS), rows.require(SCORE_COLUMNS)
    known = KnownClasses(labels)
    thresholds: dict[str, tuple[int, str, float]] = {}
    for line, fields in rows:
        given = rows.text(fields, species) or ""
        label = read_label(given)
        value = rows.number(line, fields, score)
        if label is None and is_indeterminate(given):
            raise FormatError(
                f"line {line}: expected the name of one species, found {given!r}. Correct it.", subject=path
            )
        if label is None or not 0 <= value <= 1:
            raise FormatError(f"line {line}: expected a species and a score from 0 to 1, found {fields}.", subject=path)
        name = label.scientific_name
        key = name_key((known.find(label) or label).scientific_name)
        first_line, _, first_value = thresholds.setdefault(key, (line, name, value))
        if value != first_value:
            raise FormatError(
                f"lines {first_line} and {line}: expected one score for {name}, found {first_value:g} and "
                f"{value:g}. Remove one of the lines.",
                subject=path,
            )
    if not thresholds:
        rows.table.notes.add("no threshold in it: every species is reported from the general smallest score on.")
    values = {name: value for _, name, value in thresholds.values()}
    return InputTable(values, _sentences(path, rows.table.notes))


def read_recordings(path: Path) -> InputTable[dict[Path, RecordingMetadata]]:
    """Read location and time of recordings, by absolute path, from a table with a column of paths.

    Latitude and longitude may be in one column (`location`) or two, of which two take precedence, and date and time
    in one or two as well. Location or time may be missing or empty, but not one of latitude and longitude alone. A date
    without a time is used for the week. Paths are relative to the table's folder if the file
    is there, or else to the working directory. The location 0, 0 of a receiver without a fix is left out, with a note.

    Raises:
        InputError: no such file.
        FormatError: the column of paths is missing, or those of both location and time, a value is invalid, or a
            recording appears twice with different values.
    """
    _require_file(path)
    rows = NamedColumns(path)
    file = rows.require(PATH_COLUMNS)
    locations, moments = _Locations(rows), _Moments(rows)
    if not locations.columns and not moments.columns:
        raise FormatError(
            f"expected columns latitude and longitude, or start_time; found {rows.header}."
            f"{near_column(rows.header, _USUAL_COLUMNS)}",
            subject=path,
        )
    if others := rows.table.unread({file, *locations.columns, *moments.columns}):
        near = near_column(others, _USUAL_COLUMNS)
        rows.table.notes.add(f"columns that are not read: {list_columns(others)}.{near}")
    metadata_by_path: dict[Path, RecordingMetadata] = {}
    first_lines: dict[Path, int] = {}
    for line, fields in rows:
        name = rows.text(fields, file)
        if name is None:
            raise FormatError(f"line {line}: expected a path, found {fields}.", subject=path)
        latitude, longitude = locations.read(line, fields)
        moment = moments.read(line, fields)
        metadata: RecordingMetadata
        if moment is None or isinstance(moment, datetime):
            metadata = RecordingMetadata(start_time=moment, latitude=latitude, longitude=longitude, source=path.name)
        else:
            metadata = DatedMetadata(latitude=latitude, longitude=longitude, source=path.name, day=moment)
        recording = _resolve(path, name)
        first_line = first_lines.setdefault(recording, line)
        if metadata_by_path.setdefault(recording, metadata) != metadata:
            raise FormatError(
                f"lines {first_line} and {line}: expected one time and location for each recording, found "
                f"{_metadata_text(metadata_by_path[recording])} and {_metadata_text(metadata)} of {name}. "
                f"Remove one of the lines.",
                subject=path,
            )
    n_days = sum(metadata.day is not None for metadata in metadata_by_path.values())
    if n_days:
        rows.table.notes.add(
            f"{n_days} of {counted(len(metadata_by_path), 'recording')} "
            f"{'has' if n_days == 1 else 'have'} a date without a time: it counts for the week."
        )
    return InputTable(metadata_by_path, _sentences(path, rows.table.notes))


def _metadata_text(metadata: RecordingMetadata) -> str:
    """Return location and time as text, for error messages."""
    parts = (metadata.latitude, metadata.longitude, metadata.start_time or metadata.day)
    return " ".join(str(part) for part in parts if part is not None) or "nothing"


def _sentences(path: Path, notes: Notes) -> tuple[str, ...]:
    """Return the notes, each preceded by the path of the table."""
    return tuple(f"{path}: {sentence}" for sentence in notes.sentences())


def _resolve(table: Path, name: str) -> Path:
    """Return the absolute path of the file that a table names, or its URL; backslashes are accepted as well."""
    if is_url(name):
        return as_path(name)
    for text in dict.fromkeys((name, posix_path(name))):
        for folder in (table.parent, Path()):
            full = Path(os.path.abspath(folder / text))
            # Not `Path.exists`, which raises for names that are too long.
            if os.path.exists(full):
                return full
    return Path(os.path.abspath(posix_path(name)))


class _Locations:
    """Reader of the location in a row, from two columns or one."""

    def __init__(self, rows: NamedColumns) -> None:
        self._rows = rows
        self._latitude, self._longitude = rows.find_column(headers.LATITUDE), rows.find_column(headers.LONGITUDE)
        column = rows.find_column(LOCATION_COLUMNS)
        if column is None and self._longitude is None:
            column, self._latitude = self._latitude, None
        self._reader = (
            None if column is None else LocationColumn(rows.header[column], rows.table.column(column), rows.table.notes)
        )
        self._column = column if self._reader is not None and self._reader.has_locations else None
        self.columns = [each for each in (self._latitude, self._longitude, self._column) if each is not None]
        if len(self.columns) == 1 and self._column is None:
            self._latitude = rows.require(headers.LATITUDE[:2])
            self._longitude = rows.require(headers.LONGITUDE[:2])

    def read(self, line: int, fields: list[str]) -> tuple[float | None, float | None]:
        """Return (latitude, longitude), or None for both.

        Raises:
            FormatError: the row has something else than a location on Earth.
        """
        given = [column for column in (self._latitude, self._longitude) if not is_blank(self._text(fields, column))]
        together = self._text(fields, self._column)
        if not given and is_blank(together):
            return None, None
        if given:
            north, east = self._text(fields, self._latitude), self._text(fields, self._longitude)
            latitude, longitude = parse_latitude(north), parse_longitude(east)
            came = f"({north!r}, {east!r})"
        else:
            latitude, longitude = (self._reader and self._reader.parse(together)) or (None, None)
            came = repr(together)
        if latitude is None or longitude is None:
            raise FormatError(
                f"line {line}: expected a latitude from -90 to 90 and a longitude from -180 to 180, found {came}.",
                subject=self._rows.path,
            )
        if is_without_fix(latitude, longitude):
            self._rows.table.notes.leave_out(
                NO_FIX,
                f"{latitude:g}, {longitude:g}",
            )
            return None, None
        return latitude, longitude

    def _text(self, fields: list[str], column: int | None) -> str:
        return self._rows.text(fields, column) or ""


class _Moments:
    """Reader of the time in a row, from one column, or from two with date and time of day."""

    def __init__(self, rows: NamedColumns) -> None:
        self._rows = rows
        self._date, self._time = rows.find_column(headers.DATE), rows.find_column(TIME_COLUMNS)
        self.columns = [column for column in (self._date, self._time) if column is not None]
        self._dates = None if self._date is None else rows.table.dates(self._date)
        self._times = None if self._time is None else rows.table.times(self._time)
        self._moments = None if self._time is None or self._has_clock_times() else rows.table.dates(self._time)

    def _has_clock_times(self) -> bool:
        """Return True if date and time of day are in separate columns."""
        if self._date is None or self._time is None or self._times is None:
            return False
        return all(is_blank(cell) or self._times.parse(cell) for cell in self._rows.table.column(self._time))

    def read(self, line: int, fields: list[str]) -> datetime | date | None:
        """Return the time, the date if there is no time of day, or None if there is neither.

        Raises:
            FormatError: the row has something else, or a date that is not exact to the day.
        """
        day_text, time_text = self._text(fields, self._date), self._text(fields, self._time)
        if is_blank(day_text) and is_blank(time_text):
            return None
        day = self._dates.parse(day_text) if self._dates and not is_blank(day_text) else None
        at = self._times.parse(time_text) if self._times and self._dates else None
        whole = self._moments.parse(time_text) if self._moments and at is None else None
        if day is not None and self._dates and not self._dates.has_times:
            day = replace(day, time=None)
        moment = _moment(day, at, whole, is_time_given=not is_blank(time_text), is_day_given=not is_blank(day_text))
        if moment is None or moment.year > LAST_YEAR:
            came = " ".join(text for text in (day_text, time_text) if text)
            raise FormatError(
                f"line {line}: expected a time like 2026-05-01T04:30:00, found {came!r}.", subject=self._rows.path
            )
        return moment

    def _text(self, fields: list[str], column: int | None) -> str:
        return self._rows.text(fields, column) or ""


def _moment(
    day: Stamp | None, at: time | None, whole: Stamp | None, *, is_time_given: bool, is_day_given: bool
) -> datetime | date | None:
    """Return the time from a date, a time of day, and a date with time, as far as given; None if they contradict."""
    if is_day_given and day is None:
        return None
    if is_time_given and whole is None:
        return None if day is None else day.moment(at)
    if whole is not None and day is not None and day.date != whole.date:
        return None
    known = whole or day
    if known is None:
        return None
    moment = known.moment(known.time or time())
    return moment if moment is None or known.time is not None else moment.date()
