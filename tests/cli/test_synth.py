"""The command `synth`."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.commands import Command

from dawnchorus.data.recordings import read_table
from dawnchorus.formats import raven


def test_the_synth_command_writes_folders_and_truth(tmp_path: Path, command: Command) -> None:
    arguments = ["synth", "birds", "--species", "2", "--clips", "3", "--soundscapes", "1", "--seed", "9"]
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.name for path in (tmp_path / "birds" / "clips").iterdir())
    assert folders == [
        "Avis ficta001_Synthetic Bird 001", "Avis ficta002_Synthetic Bird 002", "noise"
    ]  # fmt: skip
    assert len(list((tmp_path / "birds" / "clips").rglob("*.wav"))) == 9
    truth = list(raven.read(tmp_path / "birds" / "soundscapes" / "soundscape_0000.selections.txt"))
    assert truth
    assert all(0 <= event.start_s < event.end_s <= 60 and event.high_hz for _, event in truth)
    again = command(*arguments, cwd=tmp_path)
    assert again.returncode == 4
    assert b"birds: it is not empty" in again.stderr


def test_an_import_reads_the_truth_of_soundscapes_and_the_folders_of_clips(tmp_path: Path, command: Command) -> None:
    arguments = ["synth", "birds", "--species", "2", "--clips", "1", "--soundscapes", "1", "--soundscape-seconds", "8"]
    assert command(*arguments, "--clip-seconds", "1", "--sample-rate", "16000", cwd=tmp_path).returncode == 0
    done = command("data", "import", "birds", "set", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row.recording_id: row for row in read_table(tmp_path / "set").rows}
    truth = list(raven.read(tmp_path / "birds" / "soundscapes" / "soundscape_0000.selections.txt"))
    soundscape = rows.pop("soundscapes/soundscape_0000.wav")
    assert [mark.scientific_name for mark in soundscape.annotations] == [event.scientific_name for _, event in truth]
    labels = {(row.scientific_name, row.common_name, row.kind) for row in rows.values()}
    assert labels == {
        ("Avis ficta001", "Synthetic Bird 001", "focal"),
        ("Avis ficta002", "Synthetic Bird 002", "focal"),
        (None, None, "background"),
    }
    assert b"layout: mixed, because tables of marks (soundscape_0000.selections.txt) are of 1 of 4" in done.stderr
