"""Notes on sound files: counted at import, with an example, and no damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.data.audio_notes import list_audio_notes, list_audio_problems
from dawnchorus.data.check import ISSUES, check_table
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.formats.registry import read_annotations
from dawnchorus.types import RecordingMetadata


def imported(folder: Path) -> RecordingsTable:
    return import_recordings(folder, folder, read_annotations=read_annotations, n_workers=1)


def problems(table: RecordingsTable) -> dict[str, list[str]]:
    known = ("no_license", "unlabeled", "duplicate", "near_duplicate")
    return {row.recording_id: [p for p in row.problems if p not in known] for row in table.rows}


def test_import_counts_what_has_no_time_length_or_one_clock(tmp_path: Path) -> None:
    for name in ("a.wav", "20240601_013005.wav", "20240602_013005.flac"):
        soundfile.write(tmp_path / name, tone(seconds=1.0), 16_000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[40:44] = bytes(4)
    (tmp_path / "a.wav").write_bytes(content)
    guano = b"GUANO|Version: 1.0\nTimestamp: 2024-06-01T05:30:05\n"
    with (tmp_path / "20240601_013005.wav").open("ab") as file:
        file.write(b"guan" + len(guano).to_bytes(4, "little") + guano)
    table = imported(tmp_path)
    assert {row.recording_id: row.duration_s for row in table.rows}["a.wav"] == 1.0
    expected = {"20240601_013005.wav": ["clock_conflict"], "20240602_013005.flac": [], "a.wav": ["length_not_written"]}
    assert problems(table) == expected
    untimed, conflict, length = list_audio_notes(table)
    assert untimed.startswith("no time found for 1 of 3 recordings, as a.wav: ")
    assert "in 1 of 3 recordings (the first one is used), as 20240601_013005.wav: guano says " in conflict
    assert length.startswith("length not written, or too short, in 1 of 3 recordings, as a.wav: ")
    assert problems(check_table(table, n_workers=1)) == expected, "a check keeps them, and calls nothing damaged"


def test_an_import_says_that_another_file_follows(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "20240601_013005.wav", tone(seconds=0.2), 16_000)
    content = (tmp_path / "20240601_013005.wav").read_bytes()
    (tmp_path / "20240601_013005.wav").write_bytes(content + content)
    table = imported(tmp_path)
    assert problems(table) == {"20240601_013005.wav": ["rest_not_read"]}
    (note,) = list_audio_notes(table)
    assert note.startswith(f"rest of the file in 1 of 1 recording, as 20240601_013005.wav: {len(content)} bytes with")


def test_check_tells_channels_from_damage(tmp_path: Path) -> None:
    song = tone(seconds=2.0)
    soundfile.write(tmp_path / "20240601_013005.wav", np.column_stack([song, -song]), 16_000)
    assert problems(check_table(imported(tmp_path), n_workers=1)) == {"20240601_013005.wav": ["silent", "channels"]}


def test_every_warning_is_a_known_problem() -> None:
    warnings = [
        "channels: a",
        "channels: b",
        "low rate: x",
        "zeros at the end: x",
        "rest of the file: x",
        "length never written: x",
        "11 samples",
    ]
    problems = list_audio_problems(warnings, RecordingMetadata(conflict="x"))
    assert problems == [
        "channels",
        "low_rate",
        "zeros_at_end",
        "rest_not_read",
        "length_not_written",
        "damaged",
        "clock_conflict",
    ]
    assert set(problems) <= set(ISSUES)


def test_a_table_whose_recordings_have_times_says_nothing(tmp_path: Path) -> None:
    row = RecordingRow(recording_id="a", path="a.wav", date="2024-06-01", time="01:30")
    missing = RecordingRow(recording_id="b", path="b.wav", problems=("missing",))
    assert list(list_audio_notes(RecordingsTable(tmp_path, (row, missing)))) == []
