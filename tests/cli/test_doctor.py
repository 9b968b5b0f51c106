"""`dawnchorus doctor`: says what is there, what is missing, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.commands import Command

from dawnchorus.models.bundle import Bundle


def test_a_machine_on_which_all_is_well(command: Command, birdnet: Bundle, tmp_path: Path) -> None:
    run = command("doctor", "--check-dir", tmp_path)
    assert run.returncode == 0, run.stderr
    text = run.stdout.decode()
    assert "WAV, FLAC, MP3, Ogg; with FFmpeg" in text
    assert birdnet.id in text
    assert "extra [serve]" in text
    assert str(tmp_path) in text


def test_what_is_missing_is_said_with_advice(command: Command, tmp_path: Path) -> None:
    run = command("doctor", "--models-folder", tmp_path / "none")
    text = run.stdout.decode()
    assert "-- model birdnet" in text
    assert "dawnchorus models pull birdnet" in text


def test_a_folder_that_cannot_be_written_ends_with_1(command: Command) -> None:
    run = command("doctor", "--check-dir", "/proc/nowhere")
    assert run.returncode == 1
    assert b"cannot be written" in run.stdout
