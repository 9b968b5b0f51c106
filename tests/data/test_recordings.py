"""Tables of recordings, of this version and of older ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from dawnchorus.data.recordings import (
    RecordingRow,
    RecordingsTable,
    blocking_problems,
    read_table,
    select_usable,
    write_table,
)


def test_unusable_recordings_and_copies_are_separated() -> None:
    problems = ("missing", "unreadable", "silent", "duplicate", "near_duplicate", "clipped", "short")
    rows = [RecordingRow(recording_id=problem, path=f"{problem}.wav", problems=(problem,)) for problem in problems]
    assert [row.recording_id for row in select_usable(rows, copies=True)] == [*problems[3:]]
    assert [row.recording_id for row in select_usable(rows, copies=False)] == ["clipped", "short"]
    silent_copy = replace(rows[0], problems=("near_duplicate", "short", "silent"))
    assert blocking_problems(silent_copy, copies=False) == ["silent", "near_duplicate"]
    assert blocking_problems(silent_copy, copies=True) == ["silent"]


def test_a_table_of_an_older_version_opens(tmp_path: Path) -> None:
    row = RecordingRow(recording_id="a", path="a.wav", kind="soundscape")
    path = write_table(RecordingsTable(tmp_path, (row,)))
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["is_annotated", "content_hash"]), path)
    assert read_table(tmp_path).rows == (row,)


def test_a_table_shows_itself_shortly(tmp_path: Path) -> None:
    rows = [
        RecordingRow(recording_id=f"r<{k}>", path=f"{k}.wav", scientific_name="Avis una", split="test", duration_s=1.25)
        for k in range(12)
    ]
    table = RecordingsTable(tmp_path, tuple(rows))
    assert repr(table) == f"<RecordingsTable {tmp_path}: 12 recordings, 1 species, 12 in test>"
    html = table._repr_html_()
    assert html.count("<tr>") == 11, "a header and ten rows"
    assert "r&lt;0&gt;" in html
    assert "and 2 more" in html
