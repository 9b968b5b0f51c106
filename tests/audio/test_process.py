"""A decoder that crashes or hangs costs one file."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio import process
from dawnchorus.audio.decode import open_recording, read_clip
from dawnchorus.audio.process import (
    DecoderProcess,
    IsolatedRecording,
    _Child,
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
    process._WATCHDOG.watch(decoder._child)
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


class Process:
    """Stands for a process."""

    def __init__(self, stdin: object = None, stdout: object = None) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.calls: list[str] = []

    def kill(self) -> None:
        self.calls.append("kill")

    def wait(self) -> int:
        self.calls.append("wait")
        return -11


def child_of(stdin: object = None, stdout: object = None) -> _Child:
    return _Child(Process(stdin, stdout), None, 60)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), ValueError("write to closed file")])
def test_a_request_that_cannot_be_sent_is_a_crash(error: Exception) -> None:
    with pytest.raises(DecoderCrashError, match=r"x\.wav: .*\(exit status -11\)"):
        child_of(Pipe(error)).send(Path("x.wav"), 5)


def test_replies_are_read_to_their_last_byte_and_no_further() -> None:
    path, samples = Path("x.wav"), np.arange(5, dtype=np.float32).tobytes()
    child = child_of(stdout=io.BytesIO(b'{"kind": "samples"}\n' + samples + b"next\nshort"))
    assert child.receive_line(path) == b'{"kind": "samples"}\n'
    assert child.is_ready(0)
    assert child.receive_bytes(path, 20) == samples
    assert child.receive_line(path) == b"next\n"
    for is_stalled, reason in ((False, "crashed on this file"), (True, "gave nothing for 60 s and was ended")):
        child.is_stalled = is_stalled
        with pytest.raises(DecoderCrashError, match=reason):
            child.receive_line(path)
        with pytest.raises(DecoderCrashError, match=reason):
            child.receive_bytes(path, 20)


def test_closing_continues_after_a_broken_pipe() -> None:
    broken, stdout = Pipe(BrokenPipeError()), io.BytesIO()
    child = child_of(broken, stdout)
    child.close()
    assert child.process.calls == ["kill", "wait"]  # type: ignore[attr-defined]
    assert broken.n_closed == 1
    assert stdout.closed
    child.close()
    child_of(None, None).close()


@pytest.mark.parametrize(("waits", "now", "is_ended"), [(True, 109, True), (True, 108, False), (False, 200, False)])
def test_a_watchdog_bites_after_its_time_and_only_while_someone_waits(
    waits: bool, now: float, is_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog, child = _Watchdog(), child_of()
    child.stall_s, child.waiting_since = 8.0, 100.0 if waits else None
    watchdog._children.add(child)
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: now))
    watchdog._end_stalled()
    assert child.is_stalled is is_ended
    assert child.process.calls == (["kill"] if is_ended else [])  # type: ignore[attr-defined]


def test_one_watchdog_looks_after_all_decoders_and_ends_with_them() -> None:
    """It wakes for decoders that come and go; there is none without decoders, and none in a fork."""
    watchdog, children = _Watchdog(), [child_of() for _ in range(3)]
    for child in children:
        watchdog.watch(child)
    thread = watchdog._thread
    assert thread is not None
    assert thread.daemon
    for child in children:
        watchdog.forget(child)
    thread.join(60)
    assert watchdog._thread is None
    watchdog.watch(children[0])
    assert watchdog._thread not in (None, thread)
    watchdog.forget(children[0])
    watchdog.watch(children[1])
    watchdog.reset()
    assert watchdog._thread is None
    assert not watchdog._children


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
    return {"path": os.fsencode(path).hex(), **({"channel": "mean", **more} if more else {})}


def test_requests_are_answered_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.array([0.5, -0.5, 0.25, 0.0], np.float32), 16_000, subtype="FLOAT")
    lines = Caller(request(tmp_path / "none.wav"), 3, request(path)).lines()
    assert [line["kind"] for line in lines] == ["AudioNotFoundError", "opened", "ended"]
    assert "no such file" in str(lines[0]["reason"])
    assert lines[2] == {"kind": "ended", "duration_s": 0.0, "warnings": [], "tables": {}}
    content = Caller(request(path, rate_hz=16_000, max_samples=4)).replies.getvalue()
    _, _, rest = content.partition(b"\n")
    line, _, rest = rest.partition(b"\n")
    assert json.loads(line) == {"kind": "samples", "n": 4}
    assert np.frombuffer(rest[:16], np.float32).tolist() == [0.5, -0.5, 0.25, 0.0]
    assert json.loads(rest[16:]) == {"kind": "ended", "duration_s": 4 / 16_000, "warnings": [], "tables": {}}


def test_failing_drives_and_callers_that_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([OSError(5, "Input/output error", "/x"), OSError("odd"), BrokenPipeError(), OSError("never")])

    def fail(_path: Path) -> None:
        raise next(errors)

    monkeypatch.setattr(process, "open_recording", fail)
    assert Caller(*[request(tmp_path)] * 4).lines() == [
        {"kind": "AudioDecodeError", "reason": "it cannot be read (Input/output error)"},
        {"kind": "AudioDecodeError", "reason": "it cannot be read (odd)"},
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
