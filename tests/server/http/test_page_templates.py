"""Times, lengths and coordinates as pages show them."""

from __future__ import annotations

import pytest

from dawnchorus.server.http.page_templates import format_duration, format_location, format_moment, format_span


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-05-12T04:00:00", "12 May 2026, 04:00"),
        ("2026-05-12T04:00:00+02:00", "12 May 2026, 04:00 UTC+2"),
        ("2026-05-12T23:59:59-03:30", "12 May 2026, 23:59 UTC-3:30"),
        ("2026-05-12T04:00:00+00:00", "12 May 2026, 04:00 UTC"),
    ],
)
def test_times_keep_the_zone_of_the_recorder(text: str, shown: str) -> None:
    assert format_moment(text) == shown


@pytest.mark.parametrize(
    ("text", "duration_s", "shown"),
    [
        ("2026-05-12T04:00:00+02:00", 7200, "12 May 2026, 04:00 to 06:00 UTC+2"),
        ("2026-05-12T23:00:00", 7200, "12 May 2026, 23:00 to 13 May 2026, 01:00"),
        ("2026-05-12T04:00:10", 3, "12 May 2026, 04:00"),
        ("2026-05-12T04:00:10", None, "12 May 2026, 04:00"),
        ("9999-12-31T23:59:00", 7200, "31 Dec 9999, 23:59"),
    ],
)
def test_a_recording_is_from_its_start_to_its_end(text: str, duration_s: float | None, shown: str) -> None:
    assert format_span(text, duration_s) == shown


def test_coordinates_are_rounded() -> None:
    assert format_location(60.169_856, 24.938_379) == "60.17° N, 24.94° E"
    assert format_location(-33.4489, -70.6693) == "33.45° S, 70.67° W"


def test_lengths_have_as_many_parts_as_they_need() -> None:
    assert [format_duration(seconds) for seconds in (4.5, 59.96, 61, 3723)] == ["0:04.5", "1:00", "1:01", "1:02:03"]
