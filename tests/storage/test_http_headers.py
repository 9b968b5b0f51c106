"""Headers of replies."""

from __future__ import annotations

import math
from email.message import Message

import pytest

from dawnchorus.storage.http_headers import parse_retry_after

DATE = "Fri, 27 Nov 2026 01:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("7", 7.0), ("0.493", 0.493), ("0", 0.0), ("1000000000", 1e9), ("9" * 5000, math.inf)),
        *((text, None) for text in ("-1", "nan", "", "soon", "12 seconds", "Wed, 99 Foo 2026", "inf, 3")),
        ("Fri, 27 Nov 2026 01:00:30 GMT", 30.0),
        ("Fri, 27 Nov 2026 01:00:30 -0000", 30.0),
        ("Fri, 27 Nov 2026 00:00:00 GMT", None),
        ("Fri, 27 Nov 99999 00:00:00 GMT", None),
    ],
)
def test_any_retry_after_is_survived(value: str, expected: float | None) -> None:
    headers: Message[str, str] = Message()
    headers["Retry-After"], headers["Date"] = value, DATE
    assert parse_retry_after(headers) == expected
