"""Latitudes, longitudes, and places in one cell."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dawnchorus.tables.numbers import parse_number

MAX_LATITUDE, MAX_LONGITUDE = 90.0, 180.0

_NORTH_SOUTH, _EAST_WEST = "NS", "EWO"
_WORDS = {"north": "N", "south": "S", "east": "E", "west": "W", "nord": "N", "süd": "S", "ost": "E", "est": "E"}
_PART = r"\d+(?:[.,]\d+)?"
_DEGREES, _MINUTES = r"(?:\s*(?:°|º|˚|deg|d|:)\s*|\s+)", r"(?:\s*(?:'|m|:)\s*|\s+)"
_ANGLE = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<degrees>{_PART})"
    rf"(?:{_DEGREES}(?:(?P<minutes>{_PART})(?:{_MINUTES}(?:(?P<seconds>{_PART})\s*(?:\"|'')?)?)?)?)?",
    re.ASCII,
)
_SIGNS = str.maketrans(
    dict.fromkeys("\u2018\u2019\u2032\u00b4`", "'")
    | dict.fromkeys("\u201c\u201d\u2033", '"')
    | dict.fromkeys("\u2212\u2013", "-")
)


def parse_latitude(text: str) -> float | None:
    """Return degrees north, from -90 to 90."""
    return parse_angle(text, largest=MAX_LATITUDE, letters=_NORTH_SOUTH)


def parse_longitude(text: str) -> float | None:
    """Return degrees east, from -180 to 180."""
    return parse_angle(text, largest=MAX_LONGITUDE, letters=_EAST_WEST)


def parse_angle(text: str, *, largest: float, letters: str) -> float | None:
    """Return degrees from `52.5`, `52,5`, `52°30'N`, `N 52 30 15`, `13.4 W`; None for anything else.

    `letters` are those of the directions that it may have.
    """
    text = text.strip().translate(_SIGNS)
    letter, text = _direction(text)
    if letter and letter not in letters:
        return None
    found = _ANGLE.fullmatch(text)
    if found is None or (found["sign"] and letter):
        return None
    parts = [_decimal(found[name]) for name in ("degrees", "minutes", "seconds")]
    if any(part >= 60 for part in parts[1:]):
        return None
    value = parts[0] + parts[1] / 60 + parts[2] / 3600
    if value > largest:
        return None
    return -value if letter in {"S", "W"} or found["sign"] == "-" else value


def _direction(text: str) -> tuple[str, str]:
    """Return the direction before or behind an angle, as one capital letter or nothing, and the angle."""
    found = re.fullmatch(r"([^\W\d_]*)[\s.:]*(.*?)\s*([^\W\d_]*)\.?", text)
    if found is None or not (found[1] or found[3]) or (found[1] and found[3]):
        return "", text
    word = (found[1] or found[3]).casefold()
    letter = _WORDS.get(word, word.upper())
    return (letter, found[2]) if letter in {*_NORTH_SOUTH, *_EAST_WEST} else ("", text)


def _decimal(text: str | None) -> float:
    return float((text or "0").replace(",", "."))


def parse_place(text: str) -> tuple[float, float] | None:
    """Return latitude and longitude from one text: `48.1, 11.5`, `48,1; 11,5`, `48°6'N 11°30'E`; None for others."""
    text = text.strip()
    if point := re.fullmatch(r"POINT\s*\(\s*(\S+)\s+(\S+)\s*\)", text, re.IGNORECASE):
        text = f"{point[2]} {point[1]}"
    for first, second in _halves(text.strip("()[] ")):
        for north, east in ((first, second), (second, first)):
            latitude, longitude = parse_latitude(north), parse_longitude(east)
            if latitude is not None and longitude is not None:
                return latitude, longitude
            if not re.search(r"[NSEWO]", text, re.IGNORECASE):
                break
    return None


def _halves(text: str) -> Iterator[tuple[str, str]]:
    """Yield what may be the two halves of a place."""
    for separator in (r"\s*[;/|]\s*", r",\s+", r"(?<=[NSEWOnsewo])[\s,]+", r"\s+(?=[NSEWOnsewo])", r"\s+"):
        parts = re.split(separator, text)
        if len(parts) == 2 and all(parts):
            yield parts[0], parts[1]
    parts = text.split(",")
    if len(parts) == 2 and all(parse_number(part) is not None and "." in part for part in parts):
        yield parts[0].strip(), parts[1].strip()
