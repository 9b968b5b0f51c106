"""A decoder that crashes or hangs costs one file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio import decoder_child
from dawnchorus.audio.decode import open_recording, read_clip
from dawnchorus.audio.decoder_child import can_share_memory
from dawnchorus.audio.process import (
    DecoderProcess,
    IsolatedRecording,
)
from dawnchorus.errors import AudioDecodeError, AudioNotFoundError, AudioTooLargeError, DecoderCrashError
from dawnchorus.types import AudioInfo, RecordingMetadata

pytestmark = pytest.mark.usefixtures("own_decoders")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(rate_hz=48_000, seconds=20), 48_000, subtype="FLOAT")
    return path


def read(recording: IsolatedRecording) -> float:
    """Decode to the end, and return the length in seconds."""
    with recording:
        for _ in recording.blocks():
            continue
    return recording.duration_s


def running(decoder: DecoderProcess) -> subprocess.Popen[bytes]:
    """Return the decoder's process."""
    assert decoder._child is not None
    return decoder._child.process


@pytest.mark.parametrize("shares_memory", [True, False])
def test_the_process_gives_what_the_file_holds(recording: Path, shares_memory: bool) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    with decoder.open(recording) as opened, open_recording(recording) as same:
        assert (opened.info, opened.metadata) == (same.info, same.metadata)
        blocks = [block.copy() for block in opened.blocks()]
        np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(list(same.blocks())))
        assert (opened.duration_s, opened.warnings) == (same.duration_s, ()) == (20.0, ())
    np.testing.assert_array_equal(np.concatenate(blocks), tone(rate_hz=48_000, seconds=20))
    decoder.close()


@pytest.mark.parametrize("shares_memory", [True, False])
def test_replies_to_a_request_that_was_left_are_not_taken_for_others(recording: Path, shares_memory: bool) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    left = decoder.open(recording, rate_hz=384_000)
    with left:
        assert decoder._child is not None
        if not decoder._child._received:  # else all that the process sends unasked may have come with the header
            decoder._child._read(recording)
        short = recording.with_name("short.wav")
        soundfile.write(short, np.zeros(800), 16_000)
        assert decoder.probe(short).info.n_frames == 800
        opened = decoder.open(short, rate_hz=16_000)
        left.close()
        with pytest.raises(DecoderCrashError):
            next(left.blocks())
    assert read(opened) == 0.05
    decoder.close()


@pytest.mark.parametrize("shares_memory", [True, False])
def test_a_crash_costs_one_file_and_the_next_one_works(recording: Path, shares_memory: bool) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    opened = decoder.open(recording, rate_hz=384_000)  # more than the ring holds
    with pytest.raises(AudioDecodeError, match=r"x\.wav: the decoder crashed on this file"), opened:
        for _ in opened.blocks():
            os.kill(running(decoder).pid, signal.SIGSEGV)
    assert read(decoder.open(recording)) == 20
    decoder.close()


def test_a_hung_decoder_is_ended(recording: Path) -> None:
    decoder, other = DecoderProcess(), DecoderProcess()
    for each in (decoder, other):
        each.probe(recording)
    os.kill(running(decoder).pid, signal.SIGSTOP)
    assert decoder._child is not None
    decoder._child.stall_s = 0.1  # its own would take a minute
    decoder_child._WATCHDOG.watch(decoder._child)
    with pytest.raises(AudioDecodeError, match=r"gave nothing for 0\.1 s and was ended"):
        read(decoder.open(recording))
    assert running(other).poll() is None, "nobody waits for it"
    assert read(decoder.open(recording)) == 20, "another process took its place"
    decoder.close()
    other.close()


@pytest.mark.parametrize("shares_memory", [True, False])
def test_a_clip_is_that_of_this_process(recording: Path, shares_memory: bool) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    times = {"start_s": 3.0, "end_s": 4.5, "rate_hz": 24_000}
    np.testing.assert_array_equal(decoder.read_clip(recording, **times), read_clip(recording, **times))  # type: ignore[arg-type]
    process = running(decoder)
    with pytest.raises(AudioDecodeError, match=r"no sound at 30\.000 s"):
        decoder.read_clip(recording, start_s=30.0, end_s=31.0, rate_hz=24_000)
    assert running(decoder) is process
    decoder.close()


def test_errors_come_through_with_their_kind(tmp_path: Path) -> None:
    decoder = DecoderProcess()
    with pytest.raises(AudioNotFoundError, match="no such file"):
        read(decoder.open(tmp_path / "none.wav"))
    decoder.close()


def test_closing_from_another_thread_ends_a_running_decode(recording: Path) -> None:
    decoder = DecoderProcess()
    with decoder.open(recording, rate_hz=384_000) as opened:
        blocks = opened.blocks()
        next(blocks)
        thread = threading.Thread(target=decoder.close)
        thread.start()
        thread.join()
        with pytest.raises(AudioDecodeError):
            list(blocks)


def test_a_child_killed_while_it_starts_leaves_nothing_behind(recording: Path) -> None:
    decoder = DecoderProcess()
    process = decoder._start().process
    maps = Path("/proc/self/maps")
    shared = [line for line in maps.read_text().splitlines() if "/dev/shm/" in line] if maps.exists() else []
    assert all(line.endswith("(deleted)") for line in shared), "the memory has no name"
    process.kill()
    process.wait()
    assert read(decoder.open(recording)) == 20
    decoder.close()


def test_a_file_that_fails_does_not_cost_the_process(recording: Path, tmp_path: Path) -> None:
    decoder = DecoderProcess()
    assert decoder.probe(recording).info.n_frames == 20 * 48_000
    process = running(decoder)
    assert os.getpgid(process.pid) != os.getpgrp(), "Ctrl-C is not for it"
    with pytest.raises(AudioNotFoundError, match="no such file"):
        decoder.probe(tmp_path / "none.wav")
    with pytest.raises(AudioTooLargeError):
        read(decoder.open(recording, max_samples=1000))
    with decoder.open(recording) as opened:
        lengths = [len(block) for block in opened.blocks()]
    assert lengths == [2**18] * 3 + [20 * 48_000 - 3 * 2**18]
    assert running(decoder) is process
    decoder.close()
    assert process.returncode == -signal.SIGKILL
    decoder.close()


def test_a_decode_that_is_given_up_ends_the_process(recording: Path) -> None:
    decoder = DecoderProcess()
    with decoder.open(recording) as opened:
        next(opened.blocks())
        process = running(decoder)
    assert process.returncode is not None
    assert process.stdin is not None
    assert process.stdin.closed


def test_what_was_wrong_comes_through(tmp_path: Path) -> None:
    sound = tone(seconds=0.1)
    sound[5] = np.nan
    path = tmp_path / "20260501_043000.wav"
    soundfile.write(path, sound, 16_000, subtype="FLOAT")
    decoder = DecoderProcess()
    with decoder.open(path, rate_hz=16_000) as opened:
        assert opened.metadata == RecordingMetadata(start_time=datetime(2026, 5, 1, 4, 30), source="file name")
        assert opened.info == AudioInfo("WAV", "FLOAT", 16_000, 1, 1600)
        assert opened.warnings == ()
        list(opened.blocks())
    assert opened.duration_s == 0.1
    assert opened.warnings == ("1 samples are NaN, infinite or as good as that; they were set to zero",)
    decoder.close()


@pytest.mark.parametrize(
    ("value", "platform", "shares"),
    [(None, "linux", True), ("1", "linux", True), ("", "linux", True), ("0", "linux", False), (None, "win32", False)],
)
def test_decoder_shares_memory_by_environment_and_platform(
    value: str | None, platform: str, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAWNCHORUS_SHARED_MEMORY", raising=False)
    if value is not None:
        monkeypatch.setenv("DAWNCHORUS_SHARED_MEMORY", value)
    monkeypatch.setattr(sys, "platform", platform)
    assert can_share_memory() is shares
    assert DecoderProcess()._shares_memory is shares
    assert DecoderProcess(shares_memory=not shares)._shares_memory is not shares
