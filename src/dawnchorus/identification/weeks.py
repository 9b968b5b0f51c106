"""The 48-week year of BirdNET's range model: four weeks in every month."""

from __future__ import annotations

from datetime import date


def week_of(day: date) -> int:
    """Return the week from 1 to 48, four of 7 days per month; days after the 28th belong to the month's fourth week."""
    return (day.month - 1) * 4 + min((day.day - 1) // 7, 3) + 1
