"""Weeks of dates."""

from __future__ import annotations

import pytest

from dawnchorus.identification.weeks import week_of


@pytest.mark.parametrize(
    ("day", "week"),
    [
        ("01-01", 1),
        ("01-07", 1),
        ("01-08", 2),
        ("01-28", 4),
        ("01-31", 4),
        ("02-29", 8),
        ("06-14", 22),
        ("06-15", 23),
        ("06-21", 23),
        ("06-22", 24),
        ("12-31", 48),
    ],
)
def test_weeks_are_four_to_a_month(day: str, week: int) -> None:
    from datetime import date

    assert week_of(date.fromisoformat(f"2028-{day}")) == week
