"""`identify` without what only Linux and other Unix systems have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.identification import identify
from dawnchorus.models.bundle import Bundle

WITHOUT_UNIX = """
import os, signal, subprocess, sys

UNIX = ("fork", "forkpty", "killpg", "setpriority", "sched_getaffinity", "posix_fallocate", "memfd_create", "mkfifo")
for name in UNIX:
    if hasattr(os, name):
        delattr(os, name)
kill = signal.SIGKILL
subprocess.Popen.kill = lambda self: self.poll() is None and os.kill(self.pid, kill)
for name in [name for name in vars(signal) if name.startswith("SIG") and not name.startswith("SIG_")]:
    if name not in ("SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV"):
        delattr(signal, name)

from dawnchorus.cli.main import main
main()
"""
"""The command line where the functions and signals are missing that Windows does not have."""

HIDE_SHARED_MEMORY = 'mount -t tmpfs -o size=0,ro tmpfs /dev/shm 2> /dev/null || true; exec "$@"'


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for k in range(4):
        soundfile.write(folder / f"{k}.wav", tone(seconds=2 + k, level=0.2 + 0.1 * k), 16_000)
    soundfile.write(folder / "long.flac", tone(seconds=60), 44_100)
    (folder / "broken.wav").write_text("no sound")
    return folder


@pytest.mark.ops
def test_identify_gives_the_same_table_without_unix(recordings: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    expected, out = tmp_path / "expected.csv", tmp_path / "portable.csv"
    identify(recordings, model=level_bundle.folder, out=expected)
    arguments = ["identify", recordings, "--model", level_bundle.folder, "--out", out, "--workers", "2", "-q"]
    command = [sys.executable, "-c", WITHOUT_UNIX, *map(str, arguments)]
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0:
        command = ["unshare", "-m", "sh", "-c", HIDE_SHARED_MEMORY, "sh", *command]
    done = subprocess.run(command, env={**os.environ, "DAWNCHORUS_SHARED_MEMORY": "0"}, capture_output=True)
    assert done.returncode == 3, done.stderr
    assert out.read_bytes() == expected.read_bytes()
    assert b"broken.wav" in (tmp_path / "portable.csv.failures.csv").read_bytes()
