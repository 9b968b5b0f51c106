"""The caller's side of a decoder process, with pipes of its own."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dawnchorus.audio import decoder_child
from dawnchorus.audio.decoder_child import DecoderChild, Watchdog
from dawnchorus.errors import DecoderCrashError


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


def child_of(stdin: object = None, stdout: object = None) -> DecoderChild:
    return DecoderChild(Process(stdin, stdout), None, 60)  # type: ignore[arg-type]


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
    watchdog, child = Watchdog(), child_of()
    child.stall_s, child.waiting_since = 8.0, 100.0 if waits else None
    watchdog._children.add(child)
    monkeypatch.setattr(decoder_child, "time", SimpleNamespace(monotonic=lambda: now))
    watchdog._end_stalled()
    assert child.is_stalled is is_ended
    assert child.process.calls == (["kill"] if is_ended else [])  # type: ignore[attr-defined]


def test_a_watchdog_waits_for_a_store_that_requests_are_repeated_to(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog, child = Watchdog(), child_of()
    child.stall_s, child.repeated_s, child.waiting_since = 8.0, 20.0, 100.0
    watchdog._children.add(child)
    for now, is_ended in ((128, False), (129, True)):
        monkeypatch.setattr(decoder_child, "time", SimpleNamespace(monotonic=lambda now=now: now))
        watchdog._end_stalled()
        assert child.is_stalled is is_ended
    assert "nothing for 28 s" in str(child._describe_end(Path("x.wav")))


def test_one_watchdog_looks_after_all_decoders_and_ends_with_them() -> None:
    """It wakes for decoders that come and go; there is none without decoders, and none in a fork."""
    watchdog, children = Watchdog(), [child_of() for _ in range(3)]
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
