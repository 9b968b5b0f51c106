"""Reports of clocks."""

from __future__ import annotations

from dawnchorus.audio.clock_report import ClockReport


def test_a_report_counts_and_names_the_first_of_each_kind() -> None:
    report = ClockReport()
    report.add("a", has_time=True, conflict=None, unread=None)
    assert list(report.notes()) == []
    for name in ("b", "c"):
        report.add(name, has_time=False, conflict="x says 1, y 2", unread="z has 25:00")
    untimed, conflict, unread = report.notes()
    assert untimed.startswith("no time found for 2 of 3 recordings, as b: ")
    assert conflict.endswith("in 2 of 3 recordings (the first one is used), as b: x says 1, y 2.")
    assert unread.startswith("times or locations that are not understood, in 2 of 3 recordings")
