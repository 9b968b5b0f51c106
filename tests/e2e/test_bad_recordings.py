"""Each bad recording is one clear line, and the rest of the run is intact."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.disks import small_disk
from tests.fixtures.sounds import tone

from dawnchorus.errors import OutputError
from dawnchorus.identification import Run, identify
from dawnchorus.models.bundle import Bundle


def good(path: Path) -> Path:
    soundfile.write(path, tone(seconds=3), 16_000)
    return path


def header(path: Path, *, rate_hz: int = 16_000, n_channels: int = 1) -> None:
    data = np.zeros(160, np.int16).tobytes()
    form = struct.pack("<HHIIHH", 1, n_channels, rate_hz, rate_hz * 2 * n_channels, 2 * n_channels, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def cut(path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 160_000).astype(np.float32)
    soundfile.write(path, noise, 16_000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


FAILING: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "empty": ("bad.wav", lambda p: p.write_bytes(b""), "the file is empty (0 bytes)"),
    "text": ("bad.wav", lambda p: p.write_text("not a sound\n" * 50), "not a sound file that we can decode"),
    "zero samples": ("bad.wav", lambda p: soundfile.write(p, np.zeros(0), 16_000), "there are no samples in the file"),
    "only NaN": (
        "bad.wav",
        lambda p: soundfile.write(p, np.full(16_000, np.nan), 16_000, subtype="FLOAT"),
        "all samples are NaN",
    ),
    "1 Hz": ("bad.wav", lambda p: header(p, rate_hz=1), "the header says 1 Hz"),
    "300 channels": ("bad.wav", lambda p: header(p, n_channels=300), "the header says 300 channels"),
    "a folder": ("bad.wav", lambda p: p.mkdir(), "found a folder"),
    "a dangling link": ("bad.wav", lambda p: p.symlink_to("nowhere.wav"), "points to a file that is not there"),
    "a page": ("bad.mp3", lambda p: p.write_text("<!DOCTYPE html><html></html>"), "but a page in HTML, as a failed"),
    "random bytes": ("bad.mp3", lambda p: p.write_bytes(os.urandom(20_000)), "not a sound file|no samples"),
    "a zip": ("bad.flac", lambda p: p.write_bytes(b"PK\x03\x04" + b"\0" * 500), "not a sound file"),
}

WARNING: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "truncated wav": ("bad.wav", cut, "truncated"),
    "truncated mp3": ("bad.mp3", cut, "truncated"),
    "truncated flac": ("bad.flac", cut, "truncated|damaged"),
    "some NaN": (
        "bad.wav",
        lambda p: soundfile.write(p, np.r_[tone(), [np.nan] * 9], 16_000, subtype="FLOAT"),
        "9 samples are NaN",
    ),
}


def run_with(folder: Path, bundle: Bundle, name: str, make: Callable[[Path], object]) -> Run:
    good(folder / "a.wav")
    make(folder / name)
    good(folder / "z.wav")
    return identify(folder, model=bundle.folder, workers=2)


def assert_neighbors_are_whole(run: Run, folder: Path) -> None:
    tables = {Path(table.recording).name: table for table in run.tables()}
    for name in ("a.wav", "z.wav"):
        assert [d.common_name for d in tables[name].detections] == ["Quiet Bird", "Loud Bird"] * 3
    assert folder.is_dir()


@pytest.mark.parametrize("case", FAILING)
def test_a_bad_file_is_one_failure(tmp_path: Path, level_bundle: Bundle, case: str) -> None:
    name, make, reason = FAILING[case]
    run = run_with(tmp_path, level_bundle, name, make)
    assert [Path(f.recording).name for f in run.failures] == [name]
    assert str(tmp_path) not in run.failures[0].reason
    assert any(part in run.failures[0].reason for part in reason.split("|"))
    assert "0x" not in run.failures[0].reason
    assert_neighbors_are_whole(run, tmp_path)


@pytest.mark.parametrize("case", WARNING)
def test_a_damaged_file_is_scored_as_far_as_it_goes(tmp_path: Path, level_bundle: Bundle, case: str) -> None:
    name, make, reason = WARNING[case]
    run = run_with(tmp_path, level_bundle, name, make)
    assert run.failures == ()
    assert [Path(w.recording).name for w in run.warnings] == [name]
    assert run.warnings[0].reason.startswith(tuple(reason.split("|")))
    assert {Path(table.recording).name for table in run.tables() if table.detections} == {"a.wav", name, "z.wav"}
    assert_neighbors_are_whole(run, tmp_path)


def test_files_and_folders_without_read_permission(tmp_path: Path, level_bundle: Bundle) -> None:
    good(tmp_path / "a.wav")
    good(tmp_path / "secret.wav").chmod(0)
    folder = tmp_path / "secret"
    folder.mkdir()
    good(folder / "b.wav")
    folder.chmod(0)
    command = [sys.executable, "-m", "dawnchorus", "identify", str(tmp_path), "--model", str(level_bundle.folder)]
    if os.access(tmp_path / "secret.wav", os.R_OK):  # root reads everything, unless it gives that right away
        if shutil.which("setpriv") is None:
            pytest.skip("this user may read everything, and there is no setpriv to take that right away")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    folder.chmod(0o700)
    assert done.returncode == 3
    assert "secret.wav: no permission to read this file" in done.stderr
    assert f"{folder}: no permission to list this folder" in done.stderr
    assert len(done.stdout.splitlines()) == 7
    folder.chmod(0)
    into = ["--archive", str(tmp_path / "archive"), "--resume"]
    assert subprocess.run([*command, *into]).returncode == 3
    folder.chmod(0o700)
    done = subprocess.run([*command, *into[:-1]], capture_output=True, text=True)
    assert "1 recording done (1 of them before), 2 failed" in done.stderr, "its recordings are not listed yet"
    done = subprocess.run([*command, *into], capture_output=True, text=True)
    assert "2 recordings done (1 of them before), 1 failed" in done.stderr, "only the file is a failure now"


NAMES = (b"caf\xe9.wav", b"line\nbreak.wav", b"-rf.wav", "Ärger#%?.WAV".encode(), b"x" * 251 + b".wav")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_any_name_that_the_system_takes(tmp_path: Path, level_bundle: Bundle, command: Command) -> None:
    for name in NAMES:
        good(tmp_path / "a.wav").rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    out = tmp_path / "out"
    formats = "csv,raven,audacity,kaleidoscope,parquet,jsonl"
    done = command("identify", ".", "--model", level_bundle.folder, "--out", out, "--format", formats, "--combined",
                   "--report", tmp_path / "pictures", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "detections.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(Counter(row["recording"] for row in rows).values()) == [6] * len(NAMES)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == len(NAMES)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_broken_file_with_any_name(tmp_path: Path, level_bundle: Bundle) -> None:
    good(tmp_path / "ok.wav")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")).write_text("no sound")
    run = identify(tmp_path, model=level_bundle.folder, out=tmp_path / "all.csv")
    assert [f.recording.rsplit("/", 1)[1] for f in run.failures] == ["caf\\udce9.wav"]
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 7


def test_a_file_that_disappears(tmp_path: Path, level_bundle: Bundle) -> None:
    paths = [good(tmp_path / f"{k}.wav") for k in range(3)]
    missing = tmp_path / "gone.wav"
    run = identify([paths[0], missing, *paths[1:]], model=level_bundle.folder)
    assert [f.recording for f in run.failures] == [str(missing)]
    assert "no such file" in run.failures[0].reason
    assert len(list(run.tables())) == 3


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB."""
    with small_disk(tmp_path / "small", "300k") as folder:
        yield folder


def test_full_disk_stops_with_a_message_and_the_run_can_resume(
    tmp_path: Path, level_bundle: Bundle, command: Command, disk: Path
) -> None:
    recordings = tmp_path / "sounds"
    recordings.mkdir()
    for k in range(20):
        soundfile.write(recordings / f"{k:02d}.wav", tone(seconds=60), 16_000)
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * 150_000)
    arguments = ("identify", recordings, "--model", level_bundle.folder, "--out", disk / "all.csv")
    done = command(*arguments)
    assert done.returncode == 4
    assert b"Check free space" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (disk / "all.csv").exists()
    assert not list(disk.glob("*.part"))
    elsewhere = tmp_path / "all.csv"
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    assert command(*arguments).returncode == 0
    assert command(*arguments[:-1], elsewhere).returncode == 0
    assert (disk / "all.csv").read_bytes() == elsewhere.read_bytes()


def test_a_read_only_output_folder(tmp_path: Path, level_bundle: Bundle) -> None:
    good(tmp_path / "a.wav")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(blocked)], capture_output=True)
    if mounted.returncode:
        blocked.chmod(0o500)
        if os.access(blocked, os.W_OK):
            pytest.skip("this user can neither mount a read-only folder nor be kept out of one")
    try:
        with pytest.raises(OutputError, match=r"blocked.*cannot be written"):
            identify(tmp_path / "a.wav", model=level_bundle.folder, out=blocked / "all.csv")
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(blocked)], check=True)


def test_drive_that_vanishes_during_a_run(tmp_path: Path, level_bundle: Bundle) -> None:
    paths = []
    for k in range(30):
        paths.append(tmp_path / f"{k:02d}.wav")
        soundfile.write(paths[-1], tone(seconds=60), 16_000)

    def remove_last() -> None:
        for path in paths[25:]:
            path.unlink()

    seen = threading.Event()

    def update(_progress: object) -> None:
        if not seen.is_set():
            seen.set()
            remove_last()
            time.sleep(0.01)

    run = identify(paths, model=level_bundle.folder, workers=1, report=update)
    assert len(run.failures) == 5
    assert len(list(run.tables())) == 25
