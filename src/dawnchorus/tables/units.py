"""Units, directions, time zones and date orders in column names: `start (min)`, `latitude (S)`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dawnchorus.tables import headers

IN_BRACKETS = re.compile(r"[(\[](.*?)[)\]]")

SECONDS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds", "sek", "sekunden", "secondes", "segundos"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "minuten", "minutos"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "std", "stunden"), 3600.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds", "millisekunden"), 0.001),
}
"""Seconds per unit, by the unit's name, for times within a recording."""
HERTZ = {"": 1.0, "hz": 1.0, "khz": 1000.0}

_OTHER_COUNTS = frozenset(("samples", "sample", "frames", "frame", "ticks", "px", "pixels"))
_CLOCK = re.compile(r"(?:hh?|mm?|ss?|[:.\s,])+", re.IGNORECASE)
"""Clock formats in column names, such as `mm:ss`: no unit, since the cells show it."""

_DIRECTIONS = {
    **dict.fromkeys(("n", "north", "nord", "norte"), "N"),
    **dict.fromkeys(("s", "south", "süd", "sud", "sur", "sul"), "S"),
    **dict.fromkeys(("e", "east", "ost", "est", "este", "leste"), "E"),
    **dict.fromkeys(("w", "west", "ouest", "oeste", "ovest"), "W"),
}
_LETTERS = frozenset("NSEW")
_PLAIN_ANGLE = re.compile(r"\d[\d.,\s:°º˚'\"\u2032\u2033\u2019\u201d]*")
_PLAIN_CLOCK = re.compile(r"(?:^|[ T])\d{1,2}(?:[:.h]\d{2}(?:[:.]\d{2}(?:[.,]\d+)?)?)?$|^\d{3,6}$", re.IGNORECASE)
"""`_PLAIN_ANGLE`, `_PLAIN_CLOCK`: cells without a direction, sign, time zone, AM or PM."""
_DEGREES = frozenset(
    (
        *("deg", "degs", "degree", "degrees", "decimal", "dec", "dd", "d", "m", "min", "minutes", "seconds", "dms"),
        *("ddm", "dmm", "grad", "dezimal", "dezimalgrad", "wgs", "wgs84", "84", "epsg", "4326", "gps", "in", "of"),
        *("y", "x", "start", "approx", "optional", "required", "site", "°", "º", "˚", "'", '"', "\u2032", "\u2033"),
    )
)
_OTHER_ANGLES = frozenset(("rad", "radian", "radians", "gon", "utm", "mgrs", "osgb", "etrs", "northing", "easting"))
_HALVES = frozenset(("am", "pm", "a.m.", "p.m."))
_TIME_WORDS = frozenset(
    (
        *("h", "hh", "mm", "ss", "hhmm", "hhmmss", "24h", "24", "12h", "12", "hour", "hours", "uhr", "iso", "8601"),
        *("local", "lokal", "lokalzeit", "locale", "time", "zeit", "start", "of", "recording", "optional", "required"),
        *_OTHER_COUNTS,
        *filter(None, SECONDS),
    )
)
_ZONE = re.compile(r"z|(?:utc|gmt)?\s*[-+\u2212]\d{1,2}(?::?\d{2})?|utc|gmt", re.IGNORECASE | re.ASCII)
_ZONE_WORDS = frozenset(("in", "time", "zone", "tz"))
_DATE_FORMAT = re.compile(r"([dtgjmya]{1,4})[-./ ]+([dtgjm]{1,4})[-./ ]+([dtgjya]{1,4})")


@dataclass(frozen=True)
class CellUnit:
    """The unit in a column's name, which applies to all cells of the column."""

    suffix: str = ""
    """Text to append to each cell, such as `S`, `UTC` or `utm`; "" if there is nothing to append."""
    unknown: str = ""
    """Text in brackets that is not understood and not applied; "" if all is understood."""

    def apply(self, cell: str) -> str:
        """Return the cell with `suffix` appended; unchanged if it is blank or already has a direction, zone or sign.

        A unit of coordinates other than degrees, such as `utm`, is appended to every cell that is not blank.
        """
        text = cell.strip()
        if self.suffix in _LETTERS:
            has_own = _PLAIN_ANGLE.fullmatch(text) is None
        elif self.suffix in _OTHER_ANGLES:
            has_own = not text
        else:
            has_own = _PLAIN_CLOCK.search(text) is None
        return cell if has_own else f"{text} {self.suffix}"


def factor(name: str, units: dict[str, float]) -> float | None:
    """Return the factor that converts a column's cells to seconds or hertz, by the unit in brackets in its name.

    None for an unknown unit. A name without brackets, or with a clock format such as `(mm:ss)`, has the factor 1.

    Args:
        name: the column's name in the header, such as `start (min)`, which has the factor 60.
        units: factors by unit in lower case: `SECONDS` or `HERTZ`. Only the first word in brackets is looked up.
    """
    text = extract_brackets(name).casefold()
    word = text.split()[0].strip(".,") if text else ""
    return 1.0 if _CLOCK.fullmatch(text) and word not in units else units.get(word)


def extract_brackets(name: str) -> str:
    """Return the text in round or square brackets in a name, texts of several joined by spaces; "" without brackets."""
    return " ".join(text.strip() for text in IN_BRACKETS.findall(name))


def coordinate_unit(name: str, *, directions: str) -> CellUnit:
    """Return the unit of a column of latitudes (`directions` "NS") or longitudes ("EW") by the column's name.

    The suffix is the direction in brackets (`S`), or "" if there is none or both. A unit other than degrees (`rad`,
    `utm`) takes precedence over a direction and becomes the suffix, so that the cells are not read as degrees.
    """
    words = re.findall(r"[^\W_]+|[°º˚'\"\u2032\u2033]", extract_brackets(name).casefold())
    given = {_DIRECTIONS[word] for word in words if _DIRECTIONS.get(word, "-") in directions}
    if other := [word for word in words if word in _OTHER_ANGLES]:
        return CellUnit(suffix=other[0])
    others = {word for word in words if _DIRECTIONS.get(word, "-") not in directions} - _DEGREES - {*SECONDS}
    return CellUnit(suffix=given.pop() if len(given) == 1 else "", unknown=extract_brackets(name) if others else "")


def time_unit(name: str) -> CellUnit:
    """Return the unit of a column of times of day by the column's name.

    The suffix is a time zone, "am", "pm" or "". For words that are none of these and no format (`hh:mm`), `unknown` is
    the text in brackets.
    """
    text = extract_brackets(name)
    words = [word for word in re.split(r"[\s:,;/]+", text.casefold()) if word]
    zone = " ".join(word for word in re.split(r"[\s,;/]+", text) if word.casefold() not in _TIME_WORDS | _ZONE_WORDS)
    if _ZONE.fullmatch(zone):
        return CellUnit(suffix=zone.replace(" ", "").replace("\u2212", "-"))
    halves = [word for word in words if word in _HALVES]
    others = {*words} - _TIME_WORDS - _HALVES
    if others and not (_CLOCK.fullmatch(text) or date_order(name)):
        return CellUnit(unknown=text)
    return CellUnit(suffix=halves[0]) if len(halves) == 1 else CellUnit()


def date_order(name: str) -> str | None:
    """Return the date order in brackets in a column's name, such as "day/month/year" for `date (dd.mm.yyyy)`.

    None if the brackets do not have day, month and year in some order.
    """
    match = _DATE_FORMAT.search(extract_brackets(name).casefold())
    if match is None:
        return None
    parts = [_date_part(part) for part in match.groups()]
    return "/".join(parts) if sorted(parts) == ["day", "month", "year"] else None


def _date_part(letters: str) -> str:
    """Return the part of a date ("day", "month" or "year") that letters such as `dd`, `tt`, `mm`, `jjjj` stand for."""
    if letters.startswith("m"):
        return "month"
    return "year" if len(letters) == 4 or letters[0] in "ya" else "day"


def cell_unit(name: str, key: str, keys_by_kind: dict[str, frozenset[str]]) -> CellUnit:
    """Return the unit in a column's name.

    Args:
        name: the column's name in the header.
        key: the name without brackets, normalized by `header_key`.
        keys_by_kind: normalized names of columns by kind: "latitude", "longitude", "time" and "date"; a name of
            several kinds is of the first in this order. For "date", the unit is that of a time, unless the brackets
            have a date order. Columns with other names have no unit.
    """
    if not extract_brackets(name):
        return CellUnit()
    if key in keys_by_kind["latitude"]:
        return coordinate_unit(name, directions="NS")
    if key in keys_by_kind["longitude"]:
        return coordinate_unit(name, directions="EW")
    if key in keys_by_kind["time"] or (key in keys_by_kind["date"] and not date_order(name)):
        return time_unit(name)
    return CellUnit()


NAMES: dict[str, Sequence[str]] = {
    "latitude": headers.LATITUDE,
    "longitude": headers.LONGITUDE,
    "time": (*headers.TIME, *headers.MOMENT, "start_time"),
    "date": headers.DATE,
}
"""Usual names of the columns that `cell_unit` reads units of, by kind."""
