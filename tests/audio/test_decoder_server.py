"""The program of a decoder process, run in this one."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dawnchorus.audio import decoder_server
from dawnchorus.audio.decoder_server import DecoderServer
from dawnchorus.audio.ring_buffer import SharedRingBuffer, reserve_file


class Caller:
    """Requests for an answerer, and what it replies."""

    def __init__(self, *messages: object, ring: SharedRingBuffer | None = None) -> None:
        self.replies = io.BytesIO()
        self._requests = io.BytesIO(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        DecoderServer(ring, self._requests, self.replies).run()

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

    monkeypatch.setattr(decoder_server, "open_recording", fail)
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
    decode_request = request(tmp_path / "x.wav", rate_hz=48_000, max_samples=10**7)
    with reserve_file() as file:
        ring = SharedRingBuffer(file.fileno())
    lines = Caller(decode_request, 2, 0, ring=ring).lines()
    assert [line.get("slot") for line in lines] == [None, 0, 1, 2, 3, 2, 0, None]
    gone = Caller(decode_request, 2, ring=ring).lines()
    assert [line.get("slot") for line in gone] == [None, 0, 1, 2, 3, 2], "it ends when the caller does"
