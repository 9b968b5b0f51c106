"""`kill -9` at any moment, run again: the table equals that of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.commands import Command
from tests.fixtures.sounds import tone

from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.write import write_recording
from dawnchorus.identification import identify
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore

N_FILES, N_KILLS = 200, 10

KILLED = """
import os, signal, sys
from dawnchorus.identification import identify

def kill(progress):
    if progress.done - progress.metrics["n_resumed"] >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

identify(
    sys.argv[1], model=sys.argv[2], out=sys.argv[3], workers=2, analyses=["health", "indices"], report=kill
)
"""
"""A run that is killed as soon as so many recordings are done."""


def test_identify_resumes_after_sigkill(tmp_path: Path, level_bundle: Bundle) -> None:
    recordings, out = tmp_path / "sounds", tmp_path / "killed.csv"
    recordings.mkdir()
    for k in range(12):
        write_recording(recordings / f"{k:02d}.wav", tone(seconds=2 + k % 3, level=0.3 + 0.05 * k), rate_hz=16_000)
    (recordings / "broken.wav").write_text("no sound")
    analyses = ("health", "indices")
    identify(recordings, model=level_bundle.folder, out=tmp_path / "whole.csv", analyses=analyses)
    before = set(Path("/dev/shm").glob("dawnchorus-*"))
    for n in (1, 2, 4):
        killed = subprocess.run([sys.executable, "-c", KILLED, recordings, level_bundle.folder, out, str(n)])
        assert killed.returncode == -signal.SIGKILL
        assert not out.exists()
    run = identify(recordings, model=level_bundle.folder, out=out, analyses=analyses)
    assert run.counts.n_resumed >= 5
    for end in (".csv", ".health.csv", ".health.recorders.csv", ".indices.csv"):
        assert (tmp_path / f"killed{end}").read_bytes() == (tmp_path / f"whole{end}").read_bytes()
    assert b"broken.wav" in (tmp_path / "killed.csv.failures.csv").read_bytes()
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith((".killed.csv.lock", ".killed.csv.part"))}
    assert not left
    assert not {path for path in set(Path("/dev/shm").glob("dawnchorus-*")) - before if "spool" not in path.name}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, dawn: Path) -> Path:
    """Six-second pieces of the dawn chorus, one of them broken."""
    folder = tmp_path_factory.mktemp("many")
    samples, rate_hz = read_mono(dawn)
    rng = np.random.default_rng(5)
    for k in range(N_FILES - 1):
        start = int(rng.integers(0, len(samples) - 6 * rate_hz))
        write_recording(folder / f"{k:03d}.wav", samples[start : start + 6 * rate_hz], rate_hz=rate_hz)
    (folder / "broken.wav").write_text("no sound")
    return folder


@pytest.mark.ops
def test_ten_kills_lose_nothing(folder: Path, tmp_path: Path, command: Command, store: ModelStore) -> None:
    store.open("birdnet")
    begin = time.monotonic()
    undisturbed = command("identify", folder, "--out", tmp_path / "whole.csv", "-q")
    elapsed_s = time.monotonic() - begin
    assert undisturbed.returncode == 3
    rng = np.random.default_rng(7)
    out = tmp_path / "killed.csv"
    arguments = [sys.executable, "-m", "dawnchorus", "identify", str(folder), "--out", str(out), "-q"]
    environment = {**os.environ, "DAWNCHORUS_MODELS": str(store.folder)}
    n_killed = 0
    for _ in range(5 * N_KILLS):
        process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.uniform(0.2, 0.7) * elapsed_s)
        if process.poll() is None and not out.exists():
            os.killpg(process.pid, signal.SIGKILL)
            n_killed += 1
        process.wait()
        if out.exists():
            out.unlink()  # a run that was quicker than its killer: begin again
            (tmp_path / ".killed.csv.journal").unlink()
            elapsed_s *= 0.8
        if n_killed == N_KILLS:
            break
    assert n_killed == N_KILLS
    assert command(*arguments[3:]).returncode == 3
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert b"broken.wav" in (tmp_path / "killed.csv.failures.csv").read_bytes()
    assert not list(tmp_path.glob(".*.part"))
