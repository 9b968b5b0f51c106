"""Times and locations in the file names of recorders, phones and recording programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePath

from dawnchorus.audio.clocks import build_time, check_location, parse_zone
from dawnchorus.types import RecordingMetadata

FILE_NAME = "file name"

_OLDEST_AUDIOMOTH = datetime(2017, 1, 1, tzinfo=UTC)

_GAP = r"(?:[ _T.$-]{1,2}|[ _-]at[ _-])"
"""Separators of date and time; `$` is a Song Meter's mark for a clock set by GPS."""

_CLOCK = r"(?P<hour>\d{2})(?P<colon>[:._-]?)(?P<minute>\d{2})(?P=colon)(?P<second>\d{2})"

_HOURS_FROM_UTC = {
    "CET": 1,
    "CEST": 2,
    "MEZ": 1,
    "MESZ": 2,
    "EET": 2,
    "EEST": 3,
    "AEST": 10,
    "AEDT": 11,
    "NZST": 12,
    "NZDT": 13,
}
"""UTC offsets in hours of abbreviations that mean the same zone everywhere."""

_AMBIGUOUS_ZONES = ("EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "BST", "IST", "AST", "ADT")
"""Abbreviations that stand for several zones; BST is British or Bangladesh time."""

_REST = (
    r"(?P<thousandths>\d{3})?(?!\d)(?:\.(?P<fraction>\d{1,6})(?!\d))?(?:[ _]?(?P<half>[AaPp][Mm])(?![A-Za-z]))?"
    r"T?(?:[ _-]?(?P<zone>(?:UTC|GMT)(?:[+-]\d{1,2}(?::?\d{2})?)?|(?<=[_ \dT])Z)(?![A-Za-z0-9])"
    r"|[ _]?(?P<offset>[+-]\d{2}:?\d{2}|\+\d{2})(?![\d.])"
    rf"|[ _-]?(?P<letters>{'|'.join((*_HOURS_FROM_UTC, *_AMBIGUOUS_ZONES))})(?![A-Za-z0-9]))?"
)
"""Optional parts after the time: a fraction, AM or PM, the T of a triggered AudioMoth, a zone."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class NamePattern:
    """Pattern of a start time in a file name, with the recorders and programs that use it."""

    used_by: str
    """Recorders and programs, with examples of their file names."""
    regex: re.Pattern[str]
    """Expression with named groups for date and time, searched in the whole name."""
    read_date: Callable[[re.Match[str]], tuple[int, int, int] | None]
    """Function that returns year, month and day of a match; None if their order is ambiguous."""


def _year_first(match: re.Match[str]) -> tuple[int, int, int]:
    return int(match["year"]), int(match["month"]), int(match["day"])


def _short_year_first(match: re.Match[str]) -> tuple[int, int, int]:
    return 2000 + int(match["year"]), int(match["month"]), int(match["day"])


def _year_last(match: re.Match[str]) -> tuple[int, int, int] | None:
    """Return year, month and day; None if the order of day and month is ambiguous.

    With dots, the day is first. Otherwise one of the two must be above 12, or both must be equal.
    """
    first, second, year = int(match["first"]), int(match["second_number"]), int(match["year"])
    if match["sep"] == "." or first > 12 or first == second:
        return year, second, first
    return (year, first, second) if second > 12 else None


def _named_month(match: re.Match[str]) -> tuple[int, int, int]:
    year = int(match["year"])
    return year if year > 99 else 2000 + year, _MONTHS.index(match["month"].lower()) + 1, int(match["day"])


NAME_PATTERNS: tuple[NamePattern, ...] = (
    NamePattern(
        "AudioMoth, Song Meter, Frontier Labs, Swift, iPhone, BirdNET-Go: 20240601_013005, 20240601T013005+1000",
        re.compile(
            rf"(?<!\d)(?P<year>\d{{4}})(?P<month>\d{{2}})(?P<day>\d{{2}}){_GAP}{_CLOCK}{_REST}",
        ),
        _year_first,
    ),
    NamePattern(
        "phones and dictaphones: REC20240601013005",
        re.compile(
            r"(?<!\d)(?P<year>20\d{2})(?P<month>\d{2})(?P<day>\d{2})"
            rf"(?P<hour>\d{{2}})(?P<minute>\d{{2}})(?P<second>\d{{2}}){_REST}"
        ),
        _year_first,
    ),
    NamePattern(
        "BirdNET-Pi, Anabat, Avisoft, phones: 2024-06-01-birdnet-01:30:05, 2024-06-01 01.30.05",
        re.compile(
            r"(?<!\d)(?P<year>\d{4})(?P<sep>[-_.])(?P<month>\d{2})(?P=sep)(?P<day>\d{2})"
            rf"(?:{_GAP}|-birdnet-(?:[A-Za-z0-9_]+-)?)"
            r"(?:(?P<hour>\d{2})(?P<colon>[:._-]?)(?P<minute>\d{2})(?P=colon)(?P<second>\d{2})"
            r"|(?P<hour_at>\d{1,2})(?P<colon_at>[:._-])(?P<minute_at>\d{2})(?P=colon_at)(?P<second_at>\d{2})"
            rf"(?=[ _]?[AaPp][Mm])){_REST}"
        ),
        _year_first,
    ),
    NamePattern(
        "Merlin: 2024-06-01 01_30",
        re.compile(
            r"(?<!\d)(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})[ _T]"
            rf"(?P<hour>\d{{2}})(?P<colon>[:._h-])(?P<minute>\d{{2}})(?!(?P=colon)\d){_REST}"
        ),
        _year_first,
    ),
    NamePattern(
        "Zoom: 240601-013007, 240601_013007_Tr1",
        re.compile(
            r"(?<![A-Za-z0-9])(?P<year>\d{2})(?P<month>\d{2})(?P<day>\d{2})[_-]"
            rf"(?P<hour>\d{{2}})(?P<minute>\d{{2}})(?P<second>\d{{2}}){_REST}(?![A-Za-z0-9])"
        ),
        _short_year_first,
    ),
    NamePattern(
        "SoundTrap: 5678.240601013007",
        re.compile(
            r"^\d{1,10}\.(?P<year>\d{2})(?P<month>\d{2})(?P<day>\d{2})"
            rf"(?P<hour>\d{{2}})(?P<minute>\d{{2}})(?P<second>\d{{2}}){_REST}"
        ),
        _short_year_first,
    ),
    NamePattern(
        "SonoBat: Bat Spring-04Jul10-20,32,45",
        re.compile(
            rf"(?<!\d)(?P<day>\d{{2}})(?P<month>{'|'.join(_MONTHS)})(?P<year>20\d{{2}}|\d{{2}})[ _-]"
            rf"(?P<hour>\d{{2}})(?P<colon>[,:.]?)(?P<minute>\d{{2}})(?:(?P=colon)|,)(?P<second>\d{{2}}){_REST}",
            re.IGNORECASE,
        ),
        _named_month,
    ),
    NamePattern(
        "people: 01.06.2024 01.30.05; 31-05-2024_01-30-05, where only one order is a date",
        re.compile(
            r"(?<!\d)(?P<first>\d{2})(?P<sep>[._-])(?P<second_number>\d{2})(?P=sep)(?P<year>20\d{2})"
            rf"{_GAP}{_CLOCK}{_REST}"
        ),
        _year_last,
    ),
)
"""Patterns in order of precedence; the first match with a valid time is used, so the start if a name has two times."""

_HEX_NAME = re.compile(r"[0-9A-F]{8}")
"""Name by AudioMoth's firmware before 1.3: Unix time as eight hexadecimal digits."""

_LOCATIONS = (
    re.compile(r"\[(?P<latitude>[+-]?\d{1,2}\.\d+)[ ,_]+(?P<longitude>[+-]?\d{1,3}\.\d+)\]"),
    re.compile(r"(?<![\d.])(?P<latitude>[+-]\d{1,2}\.\d{3,})[ ,_]?(?P<longitude>[+-]\d{1,3}\.\d{3,})(?!\d)"),
    re.compile(
        r"(?<![\d.])(?P<latitude>\d{1,2}\.\d{3,})(?P<south>[NS])[ ,_-]*(?P<longitude>\d{1,3}\.\d{3,})(?P<west>[EW])"
    ),
)
"""Patterns of locations: `[-27.38 152.88]` and `_-12.34567+78.98102` of Frontier Labs, and `48.1374N_11.5755E`."""


def read_name(path: PurePath) -> RecordingMetadata | None:
    """Parse time and location in a file name, such as `20240601_013005.wav`; None if the name has neither.

    `NAME_PATTERNS` has the notations of times, with examples and in order of precedence. Names of folders are not read.
    """
    stem = path.name if path.suffix[1:].isdecimal() else path.stem  # 2024-06-01 01.30.05 has no suffix
    moment, unread = next(_times(stem), (_from_hexadecimal(path), None))
    location = _find_location(stem)
    if moment is None and location is None:
        return None
    latitude, longitude = location or (None, None)
    return RecordingMetadata(start_time=moment, latitude=latitude, longitude=longitude, source=FILE_NAME, unread=unread)


def text_before_time(name: str) -> str:
    """Return the part of a file name before the time, such as "SITE1_" of "SITE1_20240601_013005.wav".

    Empty if the name starts with the time or has none. Times are those in `NAME_PATTERNS`; the hexadecimal numbers that
    old AudioMoths use as names, such as "5CE3A2F0.WAV", count as no time.
    """
    for pattern in NAME_PATTERNS:
        for match in pattern.regex.finditer(name):
            if _read_match(pattern, match) is not None:
                return name[: match.start()]
    return ""


def _times(stem: str) -> Iterator[tuple[datetime, str | None]]:
    """Yield the times in a name, each with a sentence on its zone, or None if the zone is known or missing."""
    for pattern in NAME_PATTERNS:
        for match in pattern.regex.finditer(stem):
            moment = _read_match(pattern, match)
            if moment is None:
                continue
            letters = match["letters"] if moment.tzinfo is None else None
            yield (
                moment,
                letters and f"the zone {letters} in the {FILE_NAME} is one of several, so the time has none",
            )


def _read_match(pattern: NamePattern, match: re.Match[str]) -> datetime | None:
    date = pattern.read_date(match)
    if date is None:
        return None
    fields = match.groupdict()
    hour, minute, second = (
        int(fields.get(name) or fields.get(f"{name}_at") or 0) for name in ("hour", "minute", "second")
    )
    if fields["half"] is not None:
        hour = hour % 12 + (12 if fields["half"].lower() == "pm" else 0)
    moment = build_time(*date, hour, minute, second, fraction=fields["thousandths"] or fields["fraction"])
    hours = _HOURS_FROM_UTC.get((fields["letters"] or "").upper())
    zone = parse_zone(fields["zone"] or fields["offset"] or "") if hours is None else timezone(timedelta(hours=hours))
    return moment if moment is None or zone is None else moment.replace(tzinfo=zone)


def _from_hexadecimal(path: PurePath) -> datetime | None:
    """Return the time in the name of an old AudioMoth file; None for other names.

    Names of eight decimal digits are read only with the suffix `.WAV`; otherwise they are numbers.
    """
    if not _HEX_NAME.fullmatch(path.stem) or (path.stem.isdecimal() and path.suffix != ".WAV"):
        return None
    moment = datetime.fromtimestamp(int(path.stem, 16), UTC)
    return moment if _OLDEST_AUDIOMOTH <= moment <= datetime.now(UTC) + timedelta(days=1) else None


def _find_location(stem: str) -> tuple[float, float] | None:
    for regex in _LOCATIONS:
        match = regex.search(stem)
        if match is not None:
            fields = match.groupdict()
            south, west = fields.get("south") == "S", fields.get("west") == "W"
            latitude, longitude = float(fields["latitude"]), float(fields["longitude"])
            return check_location(-latitude if south else latitude, -longitude if west else longitude)
    return None
