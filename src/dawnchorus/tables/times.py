"""Parsing of times of day."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, time, timedelta, timezone

from dawnchorus.tables.notes import Notes
from dawnchorus.tables.words import is_blank

_ZONE = r"(?P<zone>z|(?:utc|gmt)?\s*[-+\u2212]\d{1,2}(?::?\d{2})?|utc|gmt)"
_HALF = r"(?P<half>[ap])\.?\s*m\.?"
_CLOCK = re.compile(
    rf"(?P<hour>\d{{1,2}})(?:\s*[:.,h]\s*(?P<minute>\d{{2}})(?:\s*[:.m]\s*(?P<second>\d{{2}})(?:[.,](?P<part>\d+))?s?)?)"
    rf"\s*(?:{_HALF})?\s*(?:uhr|hrs?|h)?\s*\(?{_ZONE}?\)?",
    re.ASCII,
)
_HOUR = re.compile(rf"(?P<hour>\d{{1,2}})\s*(?:{_HALF}|uhr|h)\s*{_ZONE}?", re.ASCII)
_DIGITS = re.compile(
    rf"(?P<hour>\d{{1,2}})(?P<minute>\d{{2}})(?P<second>\d{{2}})?\s*(?:hrs?|h|uhr)?\s*{_ZONE}?", re.ASCII
)
_DASHED = re.compile(r"(?P<hour>\d{1,2})[-_](?P<minute>\d{2})(?:[-_](?P<second>\d{2}))?", re.ASCII)
_EMPTY_DATE = re.compile(r"(?:1899-12-3[01]|1900-01-0[01]|1904-01-01|0?[01]/0?[01]/1900|3[01][./]12[./]1899)[t ]+")
"""Dates such as 1899-12-30 that spreadsheets put before a time without a date."""
_FRACTION = re.compile(r"0?[.,]\d+|[01](?:[.,]0*)?", re.ASCII)
_SHORT_MINUTE = re.compile(r"(\d{1,2})[.,]([0-5])", re.ASCII)


def parse_time(text: str) -> time | None:
    """Parse a time of day; None for anything else. A time zone becomes `tzinfo`, which is None without one.

    `6:00`, `06:00:30`, `5.30 Uhr`, `5h30`, `6:00 AM`, `6 pm`, `0530`, `530`, `05-30-00` are times.
    """
    text = _EMPTY_DATE.sub("", " ".join(text.split()).lower().removeprefix("t"))
    for pattern in (_CLOCK, _HOUR, _DIGITS, _DASHED):
        if match := pattern.fullmatch(text):
            return _time(match.groupdict())
    return None


def _time(parts: dict[str, str | None]) -> time | None:
    hour = int(parts["hour"] or 0)
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    microsecond = int(((parts.get("part") or "0") + "000000")[:6])
    try:
        return time(
            hour, int(parts.get("minute") or 0), int(parts.get("second") or 0), microsecond, _zone(parts.get("zone"))
        )
    except ValueError:
        return None


def _zone(text: str | None) -> timezone | None:
    """Return the time zone of `z`, `utc`, `+02:00` or `utc+2`; None for an empty text."""
    if not text:
        return None
    match = re.search(r"([-+\u2212])(\d{1,2}):?(\d{2})?$", text)
    if match is None:
        return UTC
    offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    return timezone(offset if match[1] == "+" else -offset)


def convert_fraction(fraction: float) -> time:
    """Convert a fraction of a day (0 to 1), as spreadsheets store times, to a time in whole seconds; 1 is 23:59:59."""
    seconds = min(round(fraction * 86_400), 86_399)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60)


class TimeColumn:
    """Parser of a column of times of day; all values decide if `0.25` is a fraction of a day or 00:25.

    Numbers from 0 to 1 are fractions if the column has no other values, or if one of them is no time of day (`0.75`).
    A value such as `5.3` is 05:30 if the column also has one with two digits after the point, such as `5.30`.

    Args:
        name: the column's name in the header.
        values: all cells of the column.
        notes: gets a sentence if numbers are read as fractions, and the number of values that could not be read.
    """

    def __init__(self, name: str, values: Iterable[str], notes: Notes) -> None:
        self.name = name
        self._notes = notes
        given = [value for value in map(str.strip, values) if not is_blank(value)]
        fractions = [value for value in given if _FRACTION.fullmatch(value)]
        self._has_fractions = bool(fractions) and (
            len(fractions) == len(given) or any(parse_time(value) is None for value in fractions)
        )
        self._has_short_minutes = any(re.fullmatch(r"\d{1,2}[.,]\d{2}", value) for value in given)
        if self._has_fractions:
            notes.add(
                f"column '{name}': numbers such as '{fractions[0]}' are taken for a spreadsheet's parts of a day "
                f"({self._fraction(fractions[0]):%H:%M})."
            )

    @staticmethod
    def _fraction(text: str) -> time:
        return convert_fraction(float(text.replace(",", ".")))

    def read(self, text: str) -> time | None:
        """Parse a cell as a time of day; None if it is blank or invalid. Invalid values are counted in the notes."""
        value = self.parse(text)
        if value is None and not is_blank(text):
            self._notes.misread(self.name, text.strip(), expected="a time of day such as 05:30")
        return value

    def parse(self, text: str) -> time | None:
        """Parse a cell as `read` does, without counting invalid values."""
        text = text.strip()
        if self._has_fractions and _FRACTION.fullmatch(text):
            return self._fraction(text)
        value = parse_time(text)
        if value is None and self._has_short_minutes and (short := _SHORT_MINUTE.fullmatch(text)):
            value = parse_time(f"{short[1]}.{short[2]}0")
        return value
