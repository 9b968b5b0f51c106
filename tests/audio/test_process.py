"""A decoder that crashes or hangs costs one file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.sounds import tone

from dawnchorus.audio.process import DecoderProcess, Ended, Opened, _Watchdog
from dawnchorus.errors import AudioNotFound, AudioUnreadable


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(rate_hz=48_000, seconds=20), 48_000, subtype="FLOAT")
    return path


@pytest.mark.parametrize("shares_memory", [True, False])
def test_the_process_gives_what_the_file_holds(recording: Path, shares_memory: bool) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    items = [
        part.copy() if isinstance(part, np.ndarray) else part for part in decoder.decode(recording, rate_hz=48_000)
    ]
    first, *blocks, last = items
    assert isinstance(first, Opened)
    assert isinstance(last, Ended)
    assert last == Ended(20.0, ())
    np.testing.assert_array_equal(np.concatenate(blocks), tone(rate_hz=48_000, seconds=20))
    decoder.close()


@pytest.mark.parametrize("shares_memory", [True, False])
def test_a_crash_costs_one_file_and_the_next_one_works(recording: Path, shares_memory: bool) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    with pytest.raises(AudioUnreadable, match=r"x\.wav: the decoder crashed on this file"):
        for _ in decoder.decode(recording, rate_hz=48_000):
            assert decoder._process is not None
            os.kill(decoder._process.pid, signal.SIGSEGV)
    assert isinstance(list(decoder.decode(recording, rate_hz=48_000))[-1], Ended)
    decoder.close()


def test_a_hung_decoder_is_ended(recording: Path) -> None:
    decoder = DecoderProcess(stall_s=120)
    list(decoder.decode(recording, rate_hz=48_000))
    assert decoder._process is not None
    os.kill(decoder._process.pid, signal.SIGSTOP)
    decoder._watchdog = _Watchdog(decoder._process, 0.1)  # the decoder's own would take two minutes
    with pytest.raises(AudioUnreadable, match="gave nothing for 120 s and was ended"):
        list(decoder.decode(recording, rate_hz=48_000))
    assert isinstance(list(decoder.decode(recording, rate_hz=48_000))[-1], Ended), "another process took its place"
    decoder.close()


def test_watchdog_ends_only_who_keeps_its_caller_waiting() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        watchdog = _Watchdog(process, 0.01)
        assert process.poll() is None
        with watchdog.waiting():
            process.wait()
        assert watchdog.has_bitten
        watchdog.close()


def test_errors_come_through_with_their_kind(tmp_path: Path) -> None:
    decoder = DecoderProcess()
    with pytest.raises(AudioNotFound, match="no such file"):
        list(decoder.decode(tmp_path / "none.wav", rate_hz=48_000))
    decoder.close()


def test_closing_from_another_thread_ends_a_running_decode(recording: Path) -> None:
    decoder = DecoderProcess()
    blocks = decoder.decode(recording, rate_hz=384_000)
    next(blocks)
    next(blocks)
    thread = threading.Thread(target=decoder.close)
    thread.start()
    thread.join()
    with pytest.raises(AudioUnreadable):
        list(blocks)


def test_a_child_killed_while_it_starts_leaves_nothing_behind(recording: Path) -> None:
    decoder = DecoderProcess()
    process, _watchdog = decoder._started()
    maps = Path("/proc/self/maps")
    shared = [line for line in maps.read_text().splitlines() if "/dev/shm/" in line] if maps.exists() else []
    assert all(line.endswith("(deleted)") for line in shared), "the memory has no name"
    process.kill()
    process.wait()
    assert isinstance(list(decoder.decode(recording, rate_hz=48_000))[-1], Ended)
    decoder.close()
