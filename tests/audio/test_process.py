"""A decoder that crashes or hangs costs one file."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tests.sounds import tone

from dawnchorus.audio import process
from dawnchorus.audio.process import (
    DecodeFinished,
    DecoderProcess,
    DecodeStarted,
    _DecoderServer,
    _Watchdog,
    can_share_memory,
)
from dawnchorus.audio.ring_buffer import SharedRingBuffer, reserve_file
from dawnchorus.errors import AudioDecodeError, AudioNotFoundError, AudioTooLargeError, DecoderCrashError
from dawnchorus.types import AudioInfo, RecordingMetadata

pytestmark = pytest.mark.usefixtures("own_decoders")


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
    assert isinstance(first, DecodeStarted)
    assert isinstance(last, DecodeFinished)
    assert last == DecodeFinished(20.0, ())
    np.testing.assert_array_equal(np.concatenate(blocks), tone(rate_hz=48_000, seconds=20))
    decoder.close()


@pytest.mark.parametrize("shares_memory", [True, False])
def test_replies_to_a_request_that_was_left_are_not_taken_for_others(recording: Path, shares_memory: bool) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    left = decoder.decode(recording, rate_hz=384_000)
    assert isinstance(next(left), DecodeStarted)
    short = recording.with_name("short.wav")
    soundfile.write(short, np.zeros(800), 16_000)
    assert decoder.probe(short).info.n_frames == 800
    items = decoder.decode(short, rate_hz=16_000)
    next(items)
    left.close()
    *_, last = items
    assert isinstance(last, DecodeFinished)
    assert last.duration_s == 0.05
    decoder.close()


@pytest.mark.parametrize("shares_memory", [True, False])
def test_a_crash_costs_one_file_and_the_next_one_works(recording: Path, shares_memory: bool) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    with pytest.raises(AudioDecodeError, match=r"x\.wav: the decoder crashed on this file"):
        for _ in decoder.decode(recording, rate_hz=384_000):  # more than the ring holds
            assert decoder._process is not None
            os.kill(decoder._process.pid, signal.SIGSEGV)
    assert isinstance(list(decoder.decode(recording, rate_hz=48_000))[-1], DecodeFinished)
    decoder.close()


def test_a_hung_decoder_is_ended(recording: Path) -> None:
    decoder = DecoderProcess(stall_s=120)
    list(decoder.decode(recording, rate_hz=48_000))
    assert decoder._process is not None
    assert decoder._watchdog is not None
    os.kill(decoder._process.pid, signal.SIGSTOP)
    decoder._watchdog = _Watchdog(decoder._process, 0.1)  # the decoder's own would take two minutes
    with pytest.raises(AudioDecodeError, match="gave nothing for 120 s and was ended"):
        list(decoder.decode(recording, rate_hz=48_000))
    assert isinstance(list(decoder.decode(recording, rate_hz=48_000))[-1], DecodeFinished), (
        "another process took its place"
    )
    decoder.close()


def test_watchdog_ends_only_who_keeps_its_caller_waiting() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        watchdog = _Watchdog(process, 0.01)
        assert process.poll() is None
        with watchdog.waiting():
            process.wait()
        assert watchdog.has_expired
        watchdog.close()


def test_errors_come_through_with_their_kind(tmp_path: Path) -> None:
    decoder = DecoderProcess()
    with pytest.raises(AudioNotFoundError, match="no such file"):
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
    with pytest.raises(AudioDecodeError):
        list(blocks)


def test_a_child_killed_while_it_starts_leaves_nothing_behind(recording: Path) -> None:
    decoder = DecoderProcess()
    process, _watchdog = decoder._start()
    maps = Path("/proc/self/maps")
    shared = [line for line in maps.read_text().splitlines() if "/dev/shm/" in line] if maps.exists() else []
    assert all(line.endswith("(deleted)") for line in shared), "the memory has no name"
    process.kill()
    process.wait()
    assert isinstance(list(decoder.decode(recording, rate_hz=48_000))[-1], DecodeFinished)
    decoder.close()


def test_a_file_that_fails_does_not_cost_the_process(recording: Path, tmp_path: Path) -> None:
    decoder = DecoderProcess()
    assert decoder.probe(recording).info.n_frames == 20 * 48_000
    process = decoder._process
    assert process is not None
    assert os.getpgid(process.pid) != os.getpgrp(), "Ctrl-C is not for it"
    with pytest.raises(AudioNotFoundError, match="no such file"):
        decoder.probe(tmp_path / "none.wav")
    with pytest.raises(AudioTooLargeError):
        list(decoder.decode(recording, rate_hz=48_000, max_samples=1000))
    lengths = [len(part) for part in decoder.decode(recording, rate_hz=48_000) if isinstance(part, np.ndarray)]
    assert lengths == [2**18] * 3 + [20 * 48_000 - 3 * 2**18]
    assert decoder._process is process
    decoder.close()
    assert process.returncode == -signal.SIGKILL
    decoder.close()


def test_a_decode_that_is_given_up_ends_the_process(recording: Path) -> None:
    decoder = DecoderProcess()
    parts = decoder.decode(recording, rate_hz=48_000)
    next(parts)
    process = decoder._process
    assert process is not None
    parts.close()  # type: ignore[attr-defined]
    assert decoder._process is None
    assert process.returncode is not None
    assert process.stdin is not None
    assert process.stdin.closed


def test_what_was_wrong_comes_through(tmp_path: Path) -> None:
    sound = tone(seconds=0.1)
    sound[5] = np.nan
    path = tmp_path / "20260501_043000.wav"
    soundfile.write(path, sound, 16_000, subtype="FLOAT")
    decoder = DecoderProcess()
    first, _, last = decoder.decode(path, rate_hz=16_000)
    assert isinstance(first, DecodeStarted)
    assert first.metadata == RecordingMetadata(start_time=datetime(2026, 5, 1, 4, 30), source="file name")
    assert first.info == AudioInfo("WAV", "FLOAT", 16_000, 1, 1600)
    assert last == DecodeFinished(0.1, ("1 samples are NaN, infinite or as good as that; they were set to zero",))
    decoder.close()


@pytest.mark.parametrize(
    ("value", "platform", "shares"),
    [(None, "linux", True), ("1", "linux", True), ("", "linux", True), ("0", "linux", False), (None, "win32", False)],
)
def test_memory_is_shared_unless_told_otherwise(
    value: str | None, platform: str, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAWNCHORUS_SHARED_MEMORY", raising=False)
    if value is not None:
        monkeypatch.setenv("DAWNCHORUS_SHARED_MEMORY", value)
    monkeypatch.setattr(sys, "platform", platform)
    assert can_share_memory() is shares
    assert DecoderProcess()._shares_memory is shares
    assert DecoderProcess(shares_memory=not shares)._shares_memory is not shares


# ---------------------------------------------------------------------- the caller's side, with pipes of its own


class Pipe(io.BytesIO):
    """A pipe that fails when it is written to, or closed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error, self.n_closed = error, 0

    def write(self, _content: object) -> int:
        raise self._error

    def close(self) -> None:
        self.n_closed += 1
        if self.n_closed == 1:
            raise self._error


class Child:
    """Stands for a process."""

    def __init__(self, stdin: object = None, stdout: object = None) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.calls: list[str] = []

    def kill(self) -> None:
        self.calls.append("kill")

    def wait(self) -> int:
        self.calls.append("wait")
        return -11


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), ValueError("write to closed file")])
def test_a_request_that_cannot_be_sent_is_a_crash(error: Exception) -> None:
    decoder = DecoderProcess()
    with pytest.raises(DecoderCrashError, match=r"x\.wav: .*\(exit status None\)"):
        decoder._send(Path("x.wav"), Pipe(error), 5)
    decoder._process = Child()  # type: ignore[assignment]
    with pytest.raises(DecoderCrashError, match=r"x\.wav: .*\(exit status -11\)"):
        decoder._send(Path("x.wav"), Pipe(error), 5)


def test_replies_are_read_to_their_last_byte_and_no_further() -> None:
    decoder, watchdog = DecoderProcess(), SimpleNamespace(has_expired=False, waiting=nullcontext)
    path, samples = Path("x.wav"), np.arange(5, dtype=np.float32)
    stdout = io.BytesIO(b'{"kind": "samples"}\n' + samples.tobytes() + b"next")
    assert decoder._receive(path, stdout, watchdog) == {"kind": "samples"}  # type: ignore[arg-type]
    np.testing.assert_array_equal(decoder._receive_samples(path, stdout, watchdog, 5), samples)  # type: ignore[arg-type]
    assert stdout.read() == b"next"
    for has_expired, reason in ((False, "crashed on this file"), (True, "gave nothing for 60 s and was ended")):
        watchdog.has_expired = has_expired
        with pytest.raises(DecoderCrashError, match=reason):
            decoder._receive(path, io.BytesIO(), watchdog)  # type: ignore[arg-type]
        with pytest.raises(DecoderCrashError, match=reason):
            decoder._receive_samples(path, io.BytesIO(b"short"), watchdog, 5)  # type: ignore[arg-type]


def test_closing_goes_on_where_a_pipe_is_broken() -> None:
    broken, stdout = Pipe(BrokenPipeError()), io.BytesIO()
    decoder, child = DecoderProcess(), Child(broken, stdout)
    decoder._process = child  # type: ignore[assignment]
    decoder.close()
    assert child.calls == ["kill", "wait"]
    assert broken.n_closed == 1
    assert stdout.closed
    child = Child(None, None)
    decoder._process = child  # type: ignore[assignment]
    decoder.close()
    assert child.calls == ["kill", "wait"]
    assert decoder._process is None


class Clock:
    """An event whose waiting is the passing of time, until `end`."""

    def __init__(self, end: float) -> None:
        self.now, self._end = 100.0, end

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now > self._end

    def set(self) -> None:
        """Nobody waits for real."""


@pytest.mark.parametrize(("waits", "end", "bitten_at"), [(True, 200, 109), (True, 108.5, None), (False, 200, None)])
def test_a_watchdog_bites_after_its_time_and_only_while_someone_waits(
    waits: bool, end: float, bitten_at: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks eight times in its 8 s, and more than these must be over."""
    clock, child, threads = Clock(end), Child(), []

    def thread(**more: object) -> SimpleNamespace:
        threads.append(more)
        return SimpleNamespace(start=lambda: None)

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", thread)
        patch.setattr(time, "monotonic", lambda: clock.now)
        watchdog = _Watchdog(child, 8.0)  # type: ignore[arg-type]
        watchdog._over = clock  # type: ignore[assignment]
        assert not watchdog.has_expired
        with watchdog.waiting() if waits else nullcontext():
            watchdog._watch()
    assert threads[0]["daemon"] is True
    assert (child.calls, watchdog.has_expired) == ((["kill"], True) if bitten_at else ([], False))
    assert bitten_at is None or clock.now == bitten_at
    assert watchdog._since is None


# ---------------------------------------------------------------------- the other side, in this process


class Caller:
    """Requests for an answerer, and what it replies."""

    def __init__(self, *messages: object, ring: SharedRingBuffer | None = None) -> None:
        self.replies = io.BytesIO()
        self._requests = io.BytesIO(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        _DecoderServer(ring, self._requests, self.replies).run()

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.replies.getvalue().splitlines()]


def request(path: Path, **more: int) -> dict[str, object]:
    return {"path": os.fsencode(path).hex(), **more}


def test_requests_are_answered_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.array([0.5, -0.5, 0.25, 0.0], np.float32), 16_000, subtype="FLOAT")
    lines = Caller(request(tmp_path / "none.wav"), 3, request(path)).lines()
    assert [line["kind"] for line in lines] == ["AudioNotFoundError", "opened", "ended"]
    assert "no such file" in str(lines[0]["message"])
    assert lines[2] == {"kind": "ended", "duration_s": 0.0, "warnings": []}
    content = Caller(request(path, rate_hz=16_000, max_samples=4)).replies.getvalue()
    _, _, rest = content.partition(b"\n")
    line, _, rest = rest.partition(b"\n")
    assert json.loads(line) == {"kind": "samples", "n": 4}
    assert np.frombuffer(rest[:16], np.float32).tolist() == [0.5, -0.5, 0.25, 0.0]
    assert json.loads(rest[16:]) == {"kind": "ended", "duration_s": 4 / 16_000, "warnings": []}


def test_failing_drives_and_callers_that_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([OSError(5, "Input/output error", "/x"), OSError("odd"), BrokenPipeError(), OSError("never")])

    def fail(_path: Path) -> None:
        raise next(errors)

    monkeypatch.setattr(process, "open_recording", fail)
    assert Caller(*[request(tmp_path)] * 4).lines() == [
        {"kind": "AudioDecodeError", "message": "/x: Input/output error"},
        {"kind": "AudioDecodeError", "message": "reading: odd"},
    ]


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (2**18 - 1, [2**18 - 1]),
        (2**18, [2**18]),
        (2**18 + 1, [2**18, 1]),
        (3 * 2**18 + 70_000, [2**18] * 3 + [70_000]),
    ],
)
def test_slots_are_filled_one_after_another(tmp_path: Path, n: int, sizes: list[int]) -> None:
    sound = (np.arange(n) % 30_011).astype(np.float32) / 32_768
    soundfile.write(tmp_path / "x.wav", sound, 48_000, subtype="FLOAT")
    with reserve_file() as file:
        ring = SharedRingBuffer(file.fileno())
    lines = Caller(request(tmp_path / "x.wav", rate_hz=48_000, max_samples=n), ring=ring).lines()[1:-1]
    assert lines == [{"kind": "samples", "slot": k, "n": size} for k, size in enumerate(sizes)]
    parts = [ring.slot(k)[:size] for k, size in enumerate(sizes)]
    np.testing.assert_array_equal(np.concatenate(parts), sound)


def test_a_slot_is_used_again_when_the_caller_has_read_it(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(5 * 2**18 + 5, np.int16), 48_000)
    asked = request(tmp_path / "x.wav", rate_hz=48_000, max_samples=10**7)
    with reserve_file() as file:
        ring = SharedRingBuffer(file.fileno())
    lines = Caller(asked, 2, 0, ring=ring).lines()
    assert [line.get("slot") for line in lines] == [None, 0, 1, 2, 3, 2, 0, None]
    gone = Caller(asked, 2, ring=ring).lines()
    assert [line.get("slot") for line in gone] == [None, 0, 1, 2, 3, 2], "it ends when the caller does"
