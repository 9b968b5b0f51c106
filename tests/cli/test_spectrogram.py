"""The command `spectrogram`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.fixtures.commands import Command

from dawnchorus.cli.spectrogram import command as spectrogram


def test_spectrogram_command(dawn: Path, tmp_path: Path, command: Command) -> None:
    done = command("spectrogram", dawn, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = tmp_path / done.stdout.decode().strip()
    assert written.read_bytes().startswith(b"\x89PNG")
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    done = command("spectrogram", broken, cwd=tmp_path)
    assert (done.returncode, b"not a sound file" in done.stderr) == (3, True)


@pytest.mark.parametrize("given", [["s3://bucket/x.wav"], ["x.wav", "--out", "s3://bucket/x.png"]])
def test_urls_are_refused(given: list[str]) -> None:
    done = CliRunner().invoke(spectrogram, given)
    assert done.exit_code == 2
    assert "URLs are not supported here. Give a file or folder of this machine." in " ".join(done.output.split())
