"""Lists that users bring: species, thresholds per species, time and place per recording."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from dawnchorus.audio.origin import LAST_YEAR
from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats.text import NamedColumns
from dawnchorus.taxonomy.labels import name_key, parse_label, read_label
from dawnchorus.text_files import read_text
from dawnchorus.types import Origin

PATH_COLUMNS = ("path", "recording", "file", "filename", "begin path")
LATITUDE_COLUMNS = ("latitude", "lat")
LONGITUDE_COLUMNS = ("longitude", "lon", "lng", "long")
TIME_COLUMNS = ("start_time", "time", "datetime", "timestamp", "date_time")
SPECIES_COLUMNS = ("scientific_name", "scientific name", "species")
SCORE_COLUMNS = ("min_score", "threshold", "score", "confidence")


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file.")


def read_species_list(path: Path) -> tuple[str, ...]:
    """Names from a text file with one species in a line: `Parus major`, `Parus major_Great Tit` or `Great Tit`.

    Empty lines and lines that begin with `#` are left out.

    Raises:
        InputError: no such file, or no name in it.
    """
    _require_file(path)
    lines = (line.strip() for line in read_text(path).splitlines())
    names = tuple(parse_label(line).scientific_name for line in lines if line and not line.startswith("#"))
    if not names:
        raise InputError(f"{path}: expected one species in a line, found none.")
    return names


def read_thresholds(path: Path) -> dict[str, float]:
    """Smallest score by name, from a csv with the columns scientific_name and min_score.

    Raises:
        InputError: no such file.
        FormatError: a column is missing, a score is not a number from 0 to 1, or a species has two scores.
    """
    _require_file(path)
    rows = NamedColumns(path, delimiter=",")
    species, score = rows.require(SPECIES_COLUMNS), rows.require(SCORE_COLUMNS)
    thresholds: dict[str, tuple[int, str, float]] = {}
    for line, fields in rows:
        label = read_label(rows.text(fields, species) or "")
        value = rows.number(line, fields, score)
        if label is None or not 0 <= value <= 1:
            raise FormatError(f"{path}, line {line}: expected a species and a score from 0 to 1, found {fields}.")
        name = label.scientific_name
        first_line, _, first_value = thresholds.setdefault(name_key(name), (line, name, value))
        if value != first_value:
            raise FormatError(
                f"{path}, lines {first_line} and {line}: expected one score for {name}, found {first_value:g} and "
                f"{value:g}. Remove one of the lines."
            )
    return {name: value for _, name, value in thresholds.values()}


def read_recordings(path: Path) -> dict[Path, Origin]:
    """Time and place by absolute path, from a csv with path, latitude, longitude and start_time (ISO 8601).

    Any of the last three may be missing or empty. Paths are relative to the csv's folder, or else to the current one.

    Raises:
        InputError: no such file.
        FormatError: a column is missing, or a value is not what it should be.
    """
    _require_file(path)
    rows = NamedColumns(path, delimiter=",")
    file = rows.require(PATH_COLUMNS)
    latitude, longitude = rows.place(LATITUDE_COLUMNS), rows.place(LONGITUDE_COLUMNS)
    time = rows.place(TIME_COLUMNS)
    if latitude is None and time is None:
        raise FormatError(f"{path}: expected columns latitude and longitude, or start_time; found {rows.header}.")
    found: dict[Path, Origin] = {}
    for line, fields in rows:
        name = rows.text(fields, file)
        if name is None:
            raise FormatError(f"{path}, line {line}: expected a path, found {fields}.")
        place = (rows.number_or_none(line, fields, latitude), rows.number_or_none(line, fields, longitude))
        _check_place(path, line, place)
        found[_resolve(path, name)] = Origin(
            start_time=_moment(path, line, rows.text(fields, time)),
            latitude=place[0],
            longitude=place[1],
            source=path.name,
        )
    return found


def _resolve(table: Path, name: str) -> Path:
    beside = Path(os.path.abspath(table.parent / name))
    # Not `Path.exists`, which raises for names that are too long.
    return beside if os.path.exists(beside) else Path(os.path.abspath(name))


def _check_place(path: Path, line: int, place: tuple[float | None, float | None]) -> None:
    latitude, longitude = place
    if latitude is None and longitude is None:
        return
    if latitude is None or longitude is None or not -90 <= latitude <= 90 or not -180 <= longitude <= 180:
        raise FormatError(
            f"{path}, line {line}: expected a latitude from -90 to 90 and a longitude from -180 to 180, found {place}."
        )


def _moment(path: Path, line: int, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.year > LAST_YEAR:
        raise FormatError(f"{path}, line {line}: expected a time like 2026-05-01T04:30:00, found {text!r}.")
    return moment
