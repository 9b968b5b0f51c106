"""The command `spectrogram`."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.commands import Command


def test_spectrogram_command(dawn: Path, tmp_path: Path, command: Command) -> None:
    done = command("spectrogram", dawn, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = tmp_path / done.stdout.decode().strip()
    assert written.read_bytes().startswith(b"\x89PNG")
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    done = command("spectrogram", broken, cwd=tmp_path)
    assert (done.returncode, b"not a sound file" in done.stderr) == (3, True)
