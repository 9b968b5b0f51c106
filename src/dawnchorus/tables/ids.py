"""Repair of identifiers that spreadsheets changed, and of paths written on Windows."""

from __future__ import annotations

import re
from decimal import Decimal

_SCIENTIFIC = re.compile(r"(\d+(?:[.,](\d+))?)[eE]\+?(\d+)", re.ASCII)
_DAY = re.compile(r"\d{1,2}[-. /]\s?[^\W\d_]{3,4}\.?|[^\W\d_]{3}[-. ]\d{2}")


def exact_id(text: str) -> str | None:
    """Restore the digits of an identifier that a spreadsheet changed to a decimal number; None if digits were lost.

    `134874.0` and `1.34874E+05` become 134874; `5.88E+05` lost its last digits. Other texts come back without outer
    spaces.
    """
    text = text.strip()
    if whole := re.fullmatch(r"(\d+)[.,]0+", text, re.ASCII):
        return whole[1]
    match = _SCIENTIFIC.fullmatch(text)
    if match is None:
        return text
    if len(match[2] or "") < int(match[3]) or int(match[3]) > 30:
        return None
    return f"{int(Decimal(match[1].replace(',', '.')).scaleb(int(match[3])))}"


def is_day(text: str) -> bool:
    """Return True for a text like `2-Feb` or `Mar-01`: a spreadsheet makes one of a code such as `2-2` or `MAR1`.

    That the letters are a month is not checked: `2-abc` is True as well.
    """
    return _DAY.fullmatch(text.strip()) is not None


def posix_path(text: str) -> str:
    """Return a path with forward slashes, without double quotes and spaces around it and without leading `./`."""
    text = text.strip().strip('"').strip()
    slashed = text.replace("\\", "/") if "\\" in text else text
    return re.sub(r"^(?:\./+)+", "", slashed)
