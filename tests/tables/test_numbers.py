"""Numbers with either decimal sign."""

from __future__ import annotations

import pytest

from dawnchorus.tables import Notes, NumberColumn, parse_number


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [("1,234", 1234, 1.234), ("1.234", 1.234, 1234), ("1,234.5", 1234.5, 1234.5), ("1.234,5", 1234.5, 1234.5),
     ("0,98", 0.98, 0.98), ("1\u202f234,5", 1234.5, 1234.5), ("5.88E+05", 588000, 588000), ("\u22123.5", -3.5, -3.5),
     ("1.234.567", 1234567, 1234567), ("1,2,3", None, None), ("1e999", None, None), ("nan", None, None)],
)  # fmt: skip
def test_decimal_signs(text: str, point: float | None, comma: float | None) -> None:
    assert (parse_number(text), parse_number(text, comma=True)) == (point, comma)


def test_a_column_tells_its_decimal_sign() -> None:
    notes = Notes()
    assert NumberColumn("hz", ["1.234", "0,5"], notes).read("1.234") == 1234
    assert NumberColumn("hz", ["1,234", "0.5"], notes).read("1,234") == 1234
    assert notes.sentences() == []
    assert NumberColumn("hz", ["1,234"], notes, prefer_comma=True).read("1,234") == 1.234
    assert "in 1 row a comma may part decimals or thousands (as '1,234'); read as 1.234" in notes.sentences()[0]
