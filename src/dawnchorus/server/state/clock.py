"""The only place where the server reads the time of day."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present time in UTC, with time zone."""
    return datetime.now(UTC)
