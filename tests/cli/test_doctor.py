"""`dawnchorus doctor`: says what is there, what is missing, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.commands import Command
from tests.fixtures.examples import install

from dawnchorus.formats import registry
from dawnchorus.models.bundle import Bundle
from dawnchorus.registry import Registry


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


def test_plug_ins_are_listed_with_their_packages_and_what_is_wrong(
    command: Command, installed_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "bad-birds", "0.3", {"dawnchorus.formats": {"absent": "no_such_module:X"}})
    entries = tuple(registry.FORMATS.values())  # without these
    for folder in (tmp_path, installed_examples):
        monkeypatch.syspath_prepend(folder)
    formats = Registry(registry.TableFormat, entries, noun="format", group="dawnchorus.formats")
    monkeypatch.setattr(registry, "FORMATS", formats)
    lines = command("doctor", "--check-dir", tmp_path).stdout.decode().splitlines()
    (good,) = (line for line in lines if "dawnchorus-ctm" in line)
    assert good.split() == [
        "ok",
        "format",
        "ctm",
        "of",
        "the",
        "package",
        "dawnchorus-ctm",
        "1.0",
        "(dawnchorus_ctm:CTM)",
    ]
    (number,) = (k for k, line in enumerate(lines) if "bad-birds" in line)
    assert lines[number].startswith("-- format absent")
    assert lines[number].endswith(
        "format 'absent' of the package bad-birds 0.3 (no_such_module:X) cannot be used: ModuleNotFoundError: No "
        "module named 'no_such_module'"
    )
    assert lines[number + 1].split() == [
        "Update",
        "or",
        "uninstall",
        "that",
        "package,",
        "or",
        "tell",
        "its",
        "authors.",
    ]
