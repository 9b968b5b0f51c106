"""The page and plots of a data set say what is in it, and any name is only text there."""

from __future__ import annotations

from dawnchorus.data.explore import summarize_data_set
from dawnchorus.data.recordings import RecordingRow


def test_the_numbers_are_those_of_the_table() -> None:
    rows = [
        RecordingRow(recording_id="a", path="a", scientific_name="A a", duration_s=60.0, date="2026-05", time="04:10"),
        RecordingRow(recording_id="b", path="b", scientific_name="A a", duration_s=30.0, date="2026"),
        RecordingRow(recording_id="c", path="c", kind="background"),
    ]
    summary = summarize_data_set(rows)
    (species,) = summary.species
    assert (species.n_recordings, species.duration_s, summary.duration_s) == (2, 90.0, 90.0)
    assert summary.month_hour[4][4] == 1
    assert sum(map(sum, summary.month_hour)) == 1
    assert summary.counts["kind"] == (("focal", 2), ("background", 1))
