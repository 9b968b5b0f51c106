"""Decoding in a process of its own, so that a decoder's crash or hang costs one file and not the run.

`DecoderProcess` is the caller's side; `python -m dawnchorus.audio.process` is the other. Requests go out as one JSON
line each. Replies are frames: a kind (one byte), a length (eight bytes), and that many bytes of JSON or of float32
samples.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from dawnchorus import errors
from dawnchorus.audio.decode import MAX_DECODED_SAMPLES, open_recording
from dawnchorus.audio.origin import origin_from_json, origin_to_json, read_origin
from dawnchorus.types import AudioInfo, Origin

FloatArray = npt.NDArray[np.float32]

STALL_S = 60.0
"""A decoder that gives nothing for this long is taken for hung and ended."""

CHUNK_SAMPLES = 1 << 18
"""Samples sent at a time: large enough that frames cost nothing, small enough to start early."""

_FRAME = struct.Struct("<cQ")
_OPENED, _SAMPLES, _ENDED, _FAILED = b"O", b"S", b"E", b"F"
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Opened:
    """First reply: what the file says of itself."""

    info: AudioInfo
    origin: Origin


@dataclass(frozen=True)
class Ended:
    """Last reply: the true length, and what was wrong with the file though it could be decoded."""

    duration_s: float
    warnings: tuple[str, ...]


class DecoderProcess:
    """A process that decodes one recording after another; it is started on first use and again after a crash."""

    def __init__(self, *, stall_s: float = STALL_S) -> None:
        self._stall_s = stall_s
        self._process: subprocess.Popen[bytes] | None = None

    def probe(self, path: Path) -> Opened:
        """What the file says of itself, without decoding it.

        Raises:
            AudioError: the file cannot be opened, or the decoder crashed or hung on it.
        """
        opened, _ended = self._ask({"path": os.fsencode(path).hex()}, path)
        return cast(Opened, opened)

    def decode(
        self, path: Path, *, rate_hz: int, max_samples: int = MAX_DECODED_SAMPLES
    ) -> Iterator[Opened | FloatArray | Ended]:
        """`Opened`, then mono float32 blocks [samples] at `rate_hz`, then `Ended`.

        Raises:
            AudioError: the recording cannot be decoded, or the decoder crashed or hung on it.
        """
        yield from self._ask({"path": os.fsencode(path).hex(), "rate_hz": rate_hz, "max_samples": max_samples}, path)

    def _ask(self, request: dict[str, Any], path: Path) -> Iterator[Opened | FloatArray | Ended]:
        process = self._started()
        stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        finished = False
        try:
            self._send(path, stdin, request)
            while not finished:
                kind, payload = self._receive(path, stdout)
                if kind == _SAMPLES:
                    yield np.frombuffer(payload, np.float32)
                elif kind == _OPENED:
                    reply = json.loads(payload)
                    yield Opened(AudioInfo(**reply["info"]), origin_from_json(reply["origin"]))
                elif kind == _ENDED:
                    reply = json.loads(payload)
                    finished = True
                    yield Ended(reply["duration_s"], tuple(reply["warnings"]))
                else:
                    finished = True
                    reply = json.loads(payload)
                    raise getattr(errors, reply["kind"])(reply["message"])
        finally:
            if not finished:
                self.close()

    def close(self) -> None:
        """End the process. A later `decode` starts a new one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # a request that the ended process never read
                    continue
        process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                # -P: the current folder holds the user's data, not modules.
                [sys.executable, "-P", "-m", "dawnchorus.audio.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_child_environment(),
                # Ctrl-C is for the run as a whole, which then ends its decoders.
                start_new_session=sys.platform != "win32",
            )
            _widen(self._process.stdout)
        return self._process

    def _send(self, path: Path, stdin: IO[bytes], request: dict[str, Any]) -> None:
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except OSError as error:
            raise self._crashed(path) from error

    def _receive(self, path: Path, stdout: IO[bytes]) -> tuple[bytes, bytearray]:
        process = self._process
        hung = threading.Event()

        def end_hung() -> None:
            hung.set()
            if process is not None:
                process.kill()

        timer = threading.Timer(self._stall_s, end_hung)
        timer.daemon = True
        timer.start()
        try:
            kind, length = _FRAME.unpack(_read_exactly(stdout, _FRAME.size))
            return kind, _read_exactly(stdout, length)
        except (EOFError, ValueError) as error:  # ValueError: closed by another thread
            if hung.is_set():
                raise errors.AudioUnreadable(
                    f"{path}: the decoder gave nothing for {self._stall_s:g} s and was ended. "
                    f"The file, or the drive that it is on, is probably damaged."
                ) from error
            raise self._crashed(path) from error
        finally:
            timer.cancel()

    def _crashed(self, path: Path) -> errors.AudioUnreadable:
        code = None if self._process is None else self._process.wait()
        return errors.AudioUnreadable(
            f"{path}: the decoder crashed on this file (exit status {code}). The file is probably damaged."
        )


def _child_environment() -> dict[str, str]:
    """The parent's module path, and no thread pools: one decoder is one thread."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **single, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _widen(pipe: IO[bytes] | None) -> None:
    """Give the pipe a larger buffer where the system can: the decoder then works further ahead."""
    if pipe is None or sys.platform != "linux":
        return
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:  # the user's limit on pipe memory is reached; the default size works too
        return


def _read_exactly(stream: IO[bytes], n_bytes: int) -> bytearray:
    buffer = bytearray(n_bytes)
    view = memoryview(buffer)
    filled = 0
    while filled < n_bytes:
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        filled += count
    return buffer


# ---------------------------------------------------------------------- the other side


def _write_frame(out: IO[bytes], kind: bytes, payload: bytes | memoryview) -> None:
    out.write(_FRAME.pack(kind, len(payload)))
    out.write(payload)


def _write_json(out: IO[bytes], kind: bytes, reply: dict[str, Any]) -> None:
    _write_frame(out, kind, json.dumps(reply).encode())
    out.flush()


def _in_chunks(blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
    waiting: list[FloatArray] = []
    n_waiting = 0
    for block in blocks:
        waiting.append(block)
        n_waiting += len(block)
        if n_waiting >= CHUNK_SAMPLES:
            yield np.concatenate(waiting)
            waiting, n_waiting = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _answer(out: IO[bytes], request: dict[str, Any]) -> None:
    path = Path(os.fsdecode(bytes.fromhex(request["path"])))
    with open_recording(path) as recording:
        opened = {"info": asdict(recording.info), "origin": origin_to_json(read_origin(path))}
        _write_json(out, _OPENED, opened)
        if "rate_hz" in request:
            blocks = recording.blocks(rate_hz=request["rate_hz"], max_samples=request["max_samples"])
            for chunk in _in_chunks(blocks):
                _write_frame(out, _SAMPLES, chunk.data.cast("B"))
        ended = {"duration_s": recording.duration_s, "warnings": recording.warnings}
        _write_json(out, _ENDED, ended)


def main() -> None:
    """Answer requests until the caller closes the pipe."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    for line in sys.stdin.buffer:
        try:
            _answer(out, json.loads(line))
        except errors.AudioError as error:
            _write_json(out, _FAILED, {"kind": type(error).__name__, "message": str(error)})
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                return
            message = f"{error.filename or 'reading'}: {error.strerror or error}"
            _write_json(out, _FAILED, {"kind": "AudioUnreadable", "message": message})


if __name__ == "__main__":
    main()
