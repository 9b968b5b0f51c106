"""Parsing of numbers with a decimal point or comma, inferred from the column."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from dawnchorus.tables.notes import Notes, counted_rows
from dawnchorus.tables.words import is_blank

_SPACES = re.compile(r"(?<=\d)[\s\u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2012": "-", "\ufe63": "-", "\uff0d": "-"})
_PLAIN = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_SIGNS = re.compile(r"[.,]")


def parse_number(text: str, *, comma: bool = False) -> float | None:
    """Parse a finite number such as `-12.5`, `12,5`, `1 234.5`, `1.234,5` or `2e-3`; None for anything else.

    Only `comma` decides on ambiguous numbers: if it is True, `1,234` is 1.234 and `1.234` is 1234; if it is False,
    `1,234` is 1234 and `1.234` is 1.234.
    """
    text = _SPACES.sub("", text.strip().translate(_MINUS))
    sign = decimal_sign(text) or ("," if comma else ".")
    plain = text.replace("." if sign == "," else ",", "").replace(",", ".")
    if not _PLAIN.fullmatch(plain) or not _is_grouped(text, sign):
        return None
    value = float(plain)
    return value if math.isfinite(value) else None


def _is_grouped(text: str, sign: str) -> bool:
    """Return True if the thousands separators, if any, separate groups of three digits; `sign` is the decimal sign."""
    whole = re.split(r"[eE]", text)[0].partition(sign)[0].lstrip("+-")
    parts = whole.split("." if sign == "," else ",")
    return len(parts) == 1 or (1 <= len(parts[0]) <= 3 and all(len(part) == 3 for part in parts[1:]))


def decimal_sign(text: str) -> str | None:
    """Return the decimal sign of a number, "." or ","; None if the text does not show it (`12`, `1,234`, `1.234`).

    Only points and commas are looked at: that the text is a number is not checked.
    """
    signs = _SIGNS.findall(text)
    if len(set(signs)) == 2:
        return signs[-1] if signs.count(signs[-1]) == 1 else None
    if len(signs) > 1:
        return "." if signs[0] == "," else ","
    if not signs:
        return None
    whole, _, digits = text.lstrip("+-").partition(signs[0])
    is_thousands = len(digits) == 3 and digits.isdigit() and 1 <= len(whole) <= 3 and not whole.startswith("0")
    return None if is_thousands else signs[0]


class NumberColumn:
    """Parser of a column of numbers, which infers the decimal sign from all values of the column.

    The sign that more values show is taken, a point if as many show a comma.

    Args:
        name: the column's name in the header.
        values: all cells of the column.
        notes: gets a sentence if the decimal sign was guessed, and the number of values that could not be read.
        prefer_comma: take the comma for the decimal sign if no value shows the sign, and some have a comma (`1,234`).

    Attributes:
        comma: True if the comma is the decimal sign.
    """

    def __init__(self, name: str, values: Iterable[str], notes: Notes, *, prefer_comma: bool = False) -> None:
        self.name = name
        self._notes = notes
        signs: Counter[str] = Counter()
        unsure: list[str] = []
        for value in values:
            number = value.strip()
            sign = decimal_sign(number)
            if sign is not None:
                signs[sign] += 1
            elif _SIGNS.search(number) and parse_number(number) is not None:
                unsure.append(number)
        self.comma = signs[","] > signs["."] if signs else prefer_comma and any("," in number for number in unsure)
        commas = [number for number in unsure if "," in number]
        if commas and not signs:
            n_rows, read = counted_rows(len(commas)), parse_number(commas[0], comma=self.comma)
            notes.add(
                f"column '{name}': in {n_rows} a comma may part decimals or thousands (as '{commas[0]}'); read as "
                f"{read:g}."
            )

    def read(self, text: str) -> float | None:
        """Parse a cell as a number; None if it is blank or invalid. Invalid values are counted in the notes."""
        value = self.parse(text)
        if value is None and not is_blank(text):
            self._notes.misread(self.name, text, expected="a number")
        return value

    def parse(self, text: str) -> float | None:
        """Parse a cell as `read` does, without counting invalid values."""
        if not self.comma and _PLAIN.fullmatch(text) and math.isfinite(value := float(text)):
            return value
        return parse_number(text, comma=self.comma)
