"""Parsing of latitudes, longitudes and locations, for tables, options and metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dawnchorus.tables.headers import is_longitude_first
from dawnchorus.tables.notes import Notes, counted_rows
from dawnchorus.tables.numbers import parse_number
from dawnchorus.tables.words import is_blank

MAX_LATITUDE, MAX_LONGITUDE = 90.0, 180.0

_NORTH_SOUTH, _EAST_WEST = "NS", "EW"
_WORDS = {
    **dict.fromkeys(("north", "nord", "norte"), "N"),
    **dict.fromkeys(("south", "süd", "sud", "sur", "sul"), "S"),
    **dict.fromkeys(("east", "ost", "est", "este", "leste"), "E"),
    **dict.fromkeys(("west", "ouest", "oeste", "ovest"), "W"),
}
"""Words for directions. `O` alone is ambiguous: east in German, west in French, Italian, Portuguese and Spanish."""
_PART = r"\d+(?:[.,]\d+)?"
_DEGREES, _MINUTES = r"(?:\s*(?:°|º|˚|deg|d|:)\s*|\s+)", r"(?:\s*(?:'|m|:)\s*|\s+)"
_ANGLE = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<degrees>{_PART})"
    rf"(?:{_DEGREES}(?:(?P<minutes>{_PART})(?:{_MINUTES}(?:(?P<seconds>{_PART})\s*(?:\"|'')?)?)?)?)?",
    re.ASCII,
)
_NMEA = re.compile(r"(?P<degrees>\d{2,3})(?P<minutes>\d{2}\.\d+)", re.ASCII)
"""Degrees and minutes without a separator, as in NMEA 0183: `4806.000`, `01130.000`; only with a direction."""
_ISO_6709 = re.compile(
    r"(?P<latitude>[-+]\d{2,6}(?:\.\d+)?)(?P<longitude>[-+]\d{1,7}(?:\.\d+)?)(?:[-+]\d+(?:\.\d+)?)?(?:CRS\w+)?/?",
    re.ASCII,
)
_BEFORE = re.compile(r"^(?:geo|gps|position|wgs[ _-]?84|epsg:4326)\b[\s:,;=]*", re.IGNORECASE)
_NAMED = re.compile(r"(?P<name>lat|lon|lng)[a-z]*\.?\s*[:=]?\s*(?=[-+\dNSEWO])", re.IGNORECASE)
_SIGNS = str.maketrans(
    dict.fromkeys("\u2018\u2019\u2032\u00b4`", "'")
    | dict.fromkeys("\u201c\u201d\u2033", '"')
    | dict.fromkeys("\u2212\u2013", "-")
)


_MAX_LENGTH = 200
"""Maximum length of a location; patterns take a time that grows with the square of it."""


def parse_latitude(text: str) -> float | None:
    """Parse degrees north, from -90 to 90, such as `-33.9`, `33°54'S` or `3354.000 S`; None for anything else.

    See `parse_angle` for the notations.
    """
    return parse_angle(text, largest=MAX_LATITUDE, letters=_NORTH_SOUTH)


def parse_longitude(text: str) -> float | None:
    """Parse degrees east, from -180 to 180, such as `-58.4`, `58°24'W` or `05824.000 W`; None for anything else.

    See `parse_angle` for the notations.
    """
    return parse_angle(text, largest=MAX_LONGITUDE, letters=_EAST_WEST)


def parse_angle(text: str, *, largest: float, letters: str) -> float | None:
    """Parse degrees such as `52.5`, `52,5`, `52°30'N`, `N 52 30 15` or `13.4 W`; None for anything else.

    Degrees, minutes and seconds are separated by their signs or by spaces. A direction is a letter or a word (`North`,
    `Süd`), and excludes a sign. Only with a direction, degrees and minutes may be without a separator, as in NMEA 0183
    (`4806.000 N`).

    Args:
        text: one angle.
        largest: largest absolute value in degrees.
        letters: directions that the text may have, "NS" for a latitude or "EW" for a longitude; south and west are
            negative.
    """
    text = text.strip().translate(_SIGNS)
    if len(text) > _MAX_LENGTH:
        return None
    letter, text = _direction(text)
    if letter and letter not in letters:
        return None
    match = (_NMEA.fullmatch(text) if letter else None) or _ANGLE.fullmatch(text)
    given = {} if match is None else match.groupdict()
    if match is None or (given.get("sign") and letter):
        return None
    parts = [_decimal(given.get(name)) for name in ("degrees", "minutes", "seconds")]
    if any(part >= 60 for part in parts[1:]):
        return None
    value = parts[0] + parts[1] / 60 + parts[2] / 3600
    if value > largest:
        return None
    return -value if letter in {"S", "W"} or given.get("sign") == "-" else value


def _direction(text: str) -> tuple[str, str]:
    """Split an angle into its direction, one capital letter or "", and the text without the direction."""
    match = re.fullmatch(r"([^\W\d_]*)[\s.:]*(.*?)\s*([^\W\d_]*)\.?", text)
    if match is None or not (match[1] or match[3]) or (match[1] and match[3]):
        return "", text
    word = (match[1] or match[3]).casefold()
    letter = _WORDS.get(word, word.upper())
    return (letter, match[2]) if letter in {*_NORTH_SOUTH, *_EAST_WEST} else ("", text)


def _decimal(text: str | None) -> float:
    return float((text or "0").replace(",", "."))


def parse_location(text: str, *, longitude_first: bool = False) -> tuple[float, float] | None:
    """Parse (latitude, longitude) in degrees north and east from one text; None if it is no location.

    `48.1, 11.5`, `48,1; 11,5`, `48°6'N 11°30'E`, `N48.1 E11.5`, `lat 48.1 lon 11.5`, `4806.000,N,01130.000,E`,
    `geo:48.1,11.5`, `+48.1+011.5/` (ISO 6709) and `POINT(11.5 48.1)` are locations. Directions (`E`) and names (`lon`)
    show which number is the longitude; without them, `longitude_first` says if it is the first number.
    """
    text = _BEFORE.sub("", text.strip())
    if len(text) > _MAX_LENGTH:
        return None
    if point := re.fullmatch(r"POINT\s*\(\s*(\S+)\s+(\S+)\s*\)", text, re.IGNORECASE):
        text, longitude_first = f"{point[2]} {point[1]}", False
    if location := _iso_location(text):
        return location
    if name := _NAMED.search(text):
        text, longitude_first = _NAMED.sub(" ", text), name["name"].lower() != "lat"
    text = re.sub(r",\s*(?=[NSEWO]\b)", " ", text.strip("()[]{} "), flags=re.IGNORECASE)
    orders = [longitude_first, not longitude_first] if re.search(r"[NSEWO]", text, re.IGNORECASE) else [longitude_first]
    for halves in _halves(text):
        for is_reversed in orders:
            north, east = reversed(halves) if is_reversed else halves
            latitude, longitude = parse_latitude(north), parse_longitude(east)
            if latitude is not None and longitude is not None:
                return latitude, longitude
    return None


def _iso_location(text: str) -> tuple[float, float] | None:
    """Parse ISO 6709: `+48.1+011.5/`, `+4806+01130/` (minutes), `+480600+0113000/` (seconds); None for other texts."""
    match = _ISO_6709.fullmatch(text)
    if match is None:
        return None
    latitude = parse_latitude(_insert_spaces(match["latitude"], n_degrees=2))
    longitude = parse_longitude(_insert_spaces(match["longitude"], n_degrees=3))
    return None if latitude is None or longitude is None else (latitude, longitude)


def _insert_spaces(angle: str, *, n_degrees: int) -> str:
    """Insert spaces before the two digits of minutes and of seconds; `n_degrees` is the number of degree digits."""
    n_digits = len(angle[1:].partition(".")[0])
    if n_digits == n_degrees + 4:
        return f"{angle[: 1 + n_degrees]} {angle[1 + n_degrees : 3 + n_degrees]} {angle[3 + n_degrees :]}"
    return f"{angle[: 1 + n_degrees]} {angle[1 + n_degrees :]}" if n_digits == n_degrees + 2 else angle


def _halves(text: str) -> Iterator[tuple[str, str]]:
    """Yield each way to split a text into two coordinates, the safest separators first."""
    for separator in (
        r"\s*[;/|\\]\s*",
        r"\s*,\s+",
        r"\s+(?=[-+])",
        r"(?<=[NSEWOnsewo])[\s,]+",
        r"\s+(?=[NSEWOnsewo])",
        r"\s+",
    ):
        parts = re.split(separator, text)
        if len(parts) == 2 and all(parts):
            yield parts[0], parts[1]
    parts = text.split(",")
    if len(parts) == 2 and all(parse_number(part) is not None and "." in part for part in parts):
        yield parts[0].strip(), parts[1].strip()


def has_two_numbers(text: str) -> bool:
    """Return True if the text has two groups of digits or more, as in `N48 E11`, but also in `48.1`.

    Such a text may be a location in an unknown notation.
    """
    return len(re.findall(r"\d+", text)) >= 2


NO_FIX = "latitude 0, longitude 0, which many tables have where no location is known"
"""Description of latitude 0, longitude 0, for notes and warnings."""


def is_without_fix(latitude: float | None, longitude: float | None) -> bool:
    """Return True if both are 0, which recorders write that have not received their location from satellites."""
    return latitude == longitude == 0


class CoordinateColumns:
    """Parser of a column of latitudes and a column of longitudes.

    Args:
        latitude_name: name of the column of latitudes, for notes.
        longitude_name: name of the column of longitudes, for notes.
        notes: gets the numbers of invalid values, of rows with only one of the two, and of rows with 0, 0.
    """

    def __init__(self, latitude_name: str, longitude_name: str, notes: Notes) -> None:
        self._names = {"latitude": latitude_name, "longitude": longitude_name}
        self._notes = notes

    def read(self, north: str, east: str) -> tuple[float | None, float | None]:
        """Parse the cells of latitude and longitude in a row, and return both in degrees.

        Both are None if one is blank or invalid, or if both are 0; this is counted in the notes, except for two blanks.
        """
        given = {"latitude": north, "longitude": east}
        values = {"latitude": parse_latitude(north), "longitude": parse_longitude(east)}
        unread = [field for field, value in values.items() if value is None and not is_blank(given[field])]
        for field in unread:
            self._notes.misread(self._names[field], given[field], expected=f"a {field} in degrees such as 52.5")
        latitude, longitude = values.values()
        if latitude is not None and longitude is not None:
            return without_missing_fix(latitude, longitude, self._notes)
        half = next((field for field, value in values.items() if value is not None), None)
        if half is not None and not unread:
            self._notes.leave_out(f"half a location, a {half} alone", given[half])
        return None, None


def without_missing_fix(latitude: float, longitude: float, notes: Notes) -> tuple[float | None, float | None]:
    """Return (latitude, longitude) unchanged; for 0, 0, an unknown location, (None, None), and count it in `notes`."""
    if not is_without_fix(latitude, longitude):
        return latitude, longitude
    notes.leave_out(NO_FIX, "0, 0")
    return None, None


class LocationColumn:
    """Parser of a column with latitude and longitude in one cell.

    Longitude is first if the column's name says so, or if all filled cells are locations with longitude first and some
    are locations only in this order; this guess is added to `notes`. Later calls of `parse` add nothing to `notes`.

    Args:
        name: the column's name in the header.
        values: all cells of the column.
        notes: gets a sentence for the guess; none on cells that are no location.

    Attributes:
        has_locations: True if at least one value is a location.
    """

    def __init__(self, name: str, values: Iterable[str], notes: Notes) -> None:
        given = [value for value in values if not is_blank(value)]
        self._longitude_first = is_longitude_first(name)
        reversed_only = [value for value in given if parse_location(value) is None and self._is_reversed(value)]
        if not self._longitude_first and reversed_only and all(map(self._is_reversed, given)):
            self._longitude_first = True
            notes.add(
                f"column '{name}': read as longitude, latitude, because in {counted_rows(len(reversed_only))} only "
                f"this is a location (as '{reversed_only[0]}')."
            )
        self.has_locations = any(self.parse(value) for value in given)

    @staticmethod
    def _is_reversed(text: str) -> bool:
        return parse_location(text, longitude_first=True) is not None

    def parse(self, text: str) -> tuple[float, float] | None:
        """Parse (latitude, longitude) in degrees north and east from a cell; None if it is no location."""
        return parse_location(text, longitude_first=self._longitude_first)
