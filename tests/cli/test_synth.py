"""The command `synth`."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.commands import Command

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
