"""Clock times, time zones and locations as recorders write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

LAST_YEAR = 2100
"""Latest plausible year; later times come from damaged metadata, and the largest overflow when seconds are added."""

_FIRST_YEAR = 1970

_MAX_OFFSET_MINUTES = 14 * 60
_OFFSET_STEP_MINUTES = 15
"""Step of UTC offsets: all zones in use are multiples of it, so that other digits after a time are a counter."""

_ZONE = re.compile(r"(?:UTC|GMT)?(?:(?P<sign>[+-])(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2}))?)?|Z", re.IGNORECASE)

_TIME = re.compile(
    r"(?P<year>\d{4})[-:/. ](?P<month>\d{2})[-:/. ](?P<day>\d{2})[T ]\s*"
    r"(?P<hour>\d{2})[-:. ](?P<minute>\d{2})(?:[-:. ](?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?\s*(?P<zone>\S+)?"
)


def parse_zone(text: str) -> timezone | None:
    """Return the time zone of a text such as `Z`, `UTC`, `GMT+2`, `UTC-3:30`, `+0545` or `-03:30`; None for others.

    Names such as `CET`, offsets of more than 14 hours, and offsets that are no multiple of 15 minutes give None.
    """
    match = _ZONE.fullmatch(text)
    if match is None or not text:
        return None
    if match["sign"] is None:
        return UTC
    minutes = int(match["hours"]) * 60 + int(match["minutes"] or 0)
    if minutes > _MAX_OFFSET_MINUTES or minutes % _OFFSET_STEP_MINUTES:
        return None
    return timezone(timedelta(minutes=-minutes if match["sign"] == "-" else minutes))


def build_time(
    year: int, month: int, day: int, hour: int, minute: int, second: int = 0, *, fraction: str | None = None
) -> datetime | None:
    """Return a naive local time; None if there is no such time, or the year is not from 1970 to `LAST_YEAR`.

    `fraction` has the digits of the seconds' fraction, such as "25" for 0.25 s, of which six are used.
    """
    try:
        moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - a recorder's local time
    except ValueError:
        return None
    microseconds = int((fraction or "0").ljust(6, "0")[:6])
    return moment.replace(microsecond=microseconds) if _FIRST_YEAR <= year <= LAST_YEAR else None


def parse_time(text: str) -> datetime | None:
    """Parse a time such as `2024-06-01 01:30`, `2024/06/01T01:30:05.25` or `2024-06-01 01:30:05 UTC+2`; else None.

    Numbers of the date are separated by `-`, `:`, `/`, `.` or a space, those of the time by `-`, `:`, `.` or a space.
    Seconds, their fraction and the zone (see `parse_zone`) are optional; see `build_time` for the range of years.

    Without a zone, the result is naive: local time of the recorder. A time with an unknown zone gives None, since it
    would be hours off if it was read as local. `-00:00` means no zone (RFC 3339): Song Meters write it if none was set.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    fields = ("year", "month", "day", "hour", "minute", "second")
    moment = build_time(*(int(match[name] or 0) for name in fields), fraction=match["fraction"])
    if moment is None or match["zone"] in (None, "-00:00"):
        return moment
    zone = parse_zone(match["zone"])
    return None if zone is None else moment.replace(tzinfo=zone)


def check_time(value: object) -> datetime | None:
    """Return the time with its zone as a fixed offset, or naive without a zone; None if the value is no datetime.

    Also None if the year is not from 1970 to `LAST_YEAR`, or the offset is a day or more.
    """
    if not isinstance(value, datetime) or not _FIRST_YEAR <= value.year <= LAST_YEAR:
        return None
    try:
        offset = value.utcoffset()
    except ValueError:  # guano's own time zones hold any number of hours
        return None
    return value if offset is None else value.replace(tzinfo=timezone(offset))


def check_location(latitude: float, longitude: float) -> tuple[float, float] | None:
    """Return (latitude, longitude) in degrees; None if out of range, or both 0, as receivers write without a fix."""
    if not (abs(latitude) <= 90 and abs(longitude) <= 180) or latitude == longitude == 0:
        return None
    return latitude, longitude
