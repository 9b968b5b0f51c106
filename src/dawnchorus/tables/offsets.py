"""Parsing of times within a recording: seconds, or minutes and seconds."""

from __future__ import annotations

import re

from dawnchorus.tables.numbers import parse_number

_CLOCK = re.compile(r"(?:(?P<hours>\d{1,3}):)?(?P<minutes>\d{1,3}):(?P<seconds>[0-5]\d(?:[.,]\d+)?)", re.ASCII)


def parse_offset_s(text: str, *, comma: bool = False) -> float | None:
    """Parse `62.5`, `62.5 s`, `1:02.5` (m:ss) or `0:01:02` (h:mm:ss), and return it in seconds; None for anything else.

    `1,234` is ambiguous: if `comma`, the comma is the decimal sign, otherwise a thousands separator.
    """
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        return parse_number(re.sub(r"(?<=\d)\s*s(ec)?\.?$", "", text), comma=comma)
    hours, minutes = int(clock["hours"] or 0), int(clock["minutes"])
    if clock["hours"] and minutes >= 60:
        return None
    return hours * 3600 + minutes * 60 + float(clock["seconds"].replace(",", "."))
