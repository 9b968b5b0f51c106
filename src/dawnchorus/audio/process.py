"""Decoding in a process of its own, so that a decoder's crash or hang costs one file and not the run.

`DecoderProcess` is the caller's side; `python -m dawnchorus.audio.process [DESCRIPTOR]` is the other. Requests, replies
and the numbers of free slots are lines of JSON. Samples are in a `SharedRingBuffer`, in the open file of this number;
where a process cannot inherit one (Windows), they follow their line through the pipe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from dawnchorus import errors
from dawnchorus.audio.decode import MAX_DECODED_SAMPLES, open_recording
from dawnchorus.audio.metadata import metadata_from_json, metadata_to_json, read_metadata
from dawnchorus.audio.ring_buffer import N_SLOTS, SLOT_SAMPLES, SharedRingBuffer, reserve_file
from dawnchorus.types import AudioInfo, ChannelSource, RecordingMetadata

FloatArray = npt.NDArray[np.float32]

STALL_S = 60.0
"""A decoder that gives nothing for this long is taken for hung and ended."""


@dataclass(frozen=True)
class DecodeStarted:
    """First reply: what the file says of itself."""

    info: AudioInfo
    metadata: RecordingMetadata
    warnings: tuple[str, ...] = ()
    """Faults of its header."""


@dataclass(frozen=True)
class DecodeFinished:
    """Last reply: the true length, and what was wrong with the file though it could be decoded."""

    duration_s: float
    warnings: tuple[str, ...]


class _Watchdog:
    """Ends a process that has kept its caller waiting for too long."""

    def __init__(self, process: subprocess.Popen[bytes], stall_s: float) -> None:
        self.has_expired = False
        self._process, self._stall_s = process, stall_s
        self._since: float | None = None
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._over.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """End the process if the block takes too long."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _watch(self) -> None:
        while not self._over.wait(self._stall_s / 8):
            since = self._since
            if since is not None and time.monotonic() - since > self._stall_s:
                self.has_expired = True
                self._process.kill()
                return


class DecoderProcess:
    """A process that decodes one recording after another; it is started on first use and again after a crash."""

    def __init__(self, *, stall_s: float = STALL_S, shares_memory: bool | None = None) -> None:
        """Set up the process; for `shares_memory` see `can_share_memory`, which decides by default."""
        self._stall_s = stall_s
        self._shares_memory = can_share_memory() if shares_memory is None else shares_memory
        self._process: subprocess.Popen[bytes] | None = None
        self._ring: SharedRingBuffer | None = None
        self._request: dict[str, Any] | None = None
        """Request whose reply has not been read to its end."""
        self._watchdog: _Watchdog | None = None

    def probe(self, path: Path) -> DecodeStarted:
        """Read the file's header and metadata, without decoding it.

        Raises:
            AudioError: the file cannot be opened, or the decoder crashed or hung on it.
        """
        opened, _ended = self._exchange({"path": os.fsencode(path).hex()}, path)
        return cast(DecodeStarted, opened)

    def decode(
        self, path: Path, *, rate_hz: int, max_samples: int = MAX_DECODED_SAMPLES, channel: ChannelSource = "mean"
    ) -> Iterator[DecodeStarted | FloatArray | DecodeFinished]:
        """Yield `DecodeStarted`, then mono float32 blocks [samples] of the channel at `rate_hz`, then `DecodeFinished`.

        A block is valid until the next item is asked for: copy what is to stay.

        Raises:
            AudioError: the recording cannot be decoded, or the decoder crashed or hung on it.
        """
        request = {"path": os.fsencode(path).hex(), "rate_hz": rate_hz, "max_samples": max_samples, "channel": channel}
        yield from self._exchange(request, path)

    def _exchange(self, request: dict[str, Any], path: Path) -> Iterator[DecodeStarted | FloatArray | DecodeFinished]:
        if self._request is not None:  # somebody still holds what it yields, and its replies would be taken for ours
            self.close()
        process, watchdog = self._start()
        self._request = request
        ring = self._ring
        stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        finished = False
        try:
            self._send(path, stdin, request)
            while not finished:
                reply = self._receive(path, stdout, watchdog)
                kind = reply["kind"]
                if kind == "samples" and ring is not None:
                    yield ring.slot(reply["slot"])[: reply["n"]]
                    self._send(path, stdin, reply["slot"])
                elif kind == "samples":
                    yield self._receive_samples(path, stdout, watchdog, reply["n"])
                elif kind == "opened":
                    yield DecodeStarted(
                        AudioInfo(**reply["info"]), metadata_from_json(reply["metadata"]), tuple(reply["warnings"])
                    )
                elif kind == "ended":
                    finished = True
                    yield DecodeFinished(reply["duration_s"], tuple(reply["warnings"]))
                else:
                    finished = True
                    raise getattr(errors, kind)(reply["message"])
        finally:
            if self._request is request:
                self._request = None
                if not finished:
                    self.close()

    def close(self) -> None:
        """End the process. A later `decode` starts a new one."""
        process, self._process = self._process, None
        self._ring = self._request = None
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.close()
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

    def _start(self) -> tuple[subprocess.Popen[bytes], _Watchdog]:
        if self._process is None or self._watchdog is None or self._process.poll() is not None:
            self.close()
            if self._shares_memory:
                with reserve_file() as file:
                    self._ring = SharedRingBuffer(file.fileno())
                    self._process = _start_child(file.fileno())
            else:
                self._process = _start_child()
            self._watchdog = _Watchdog(self._process, self._stall_s)
        return self._process, self._watchdog

    def _send(self, path: Path, stdin: IO[bytes], message: dict[str, Any] | int) -> None:
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except (OSError, ValueError) as error:  # ValueError: closed by another thread
            raise self._describe_crash(path) from error

    def _receive(self, path: Path, stdout: IO[bytes], watchdog: _Watchdog) -> dict[str, Any]:
        try:
            with watchdog.waiting():
                line = stdout.readline()
            reply: dict[str, Any] = json.loads(line)
        except ValueError as error:  # no line: it ended, or was closed by another thread
            raise self._describe_stall(path) if watchdog.has_expired else self._describe_crash(path) from error
        return reply

    def _receive_samples(self, path: Path, stdout: IO[bytes], watchdog: _Watchdog, n: int) -> FloatArray:
        try:
            with watchdog.waiting():
                content = stdout.read(4 * n)
            samples: FloatArray = np.frombuffer(content, np.float32, count=n)
        except ValueError as error:  # fewer: see _receive
            raise self._describe_stall(path) if watchdog.has_expired else self._describe_crash(path) from error
        return samples

    def _describe_stall(self, path: Path) -> errors.DecoderCrashError:
        return errors.DecoderCrashError(
            f"{path}: the decoder gave nothing for {self._stall_s:g} s and was ended. "
            f"The file, or the drive that it is on, is probably damaged."
        )

    def _describe_crash(self, path: Path) -> errors.DecoderCrashError:
        code = None if self._process is None else self._process.wait()
        return errors.DecoderCrashError(
            f"{path}: the decoder crashed on this file (exit status {code}). The file is probably damaged."
        )


def can_share_memory() -> bool:
    """Return True where a child can inherit an open file to map; DAWNCHORUS_SHARED_MEMORY=0 says no everywhere."""
    return sys.platform != "win32" and os.environ.get("DAWNCHORUS_SHARED_MEMORY") != "0"


def _start_child(*descriptors: int) -> subprocess.Popen[bytes]:
    """Start a decoder, which inherits the open files and is told their numbers."""
    return subprocess.Popen(
        # -P: the current folder holds the user's data, not modules.
        [sys.executable, "-P", "-m", "dawnchorus.audio.process", *map(str, descriptors)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_child_environment(),
        pass_fds=descriptors,
        # Ctrl-C is for the run as a whole, which then ends its decoders.
        start_new_session=sys.platform != "win32",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _child_environment() -> dict[str, str]:
    """Return the child's environment: the parent's module path, and no thread pools, as one decoder is one thread."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **single, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


# ---------------------------------------------------------------------- the other side


class _DecoderServer:
    """Answers one request after another; `free` are the slots that the caller has read."""

    def __init__(self, ring: SharedRingBuffer | None, requests: IO[bytes], replies: IO[bytes]) -> None:
        self._ring = ring
        self._requests = requests
        self._replies = replies
        self._free = deque(range(N_SLOTS))

    def run(self) -> None:
        for line in self._requests:
            message = json.loads(line)
            if isinstance(message, int):
                self._free.append(message)
                continue
            try:
                self._answer(message)
            except errors.AudioError as error:
                self._reply(type(error).__name__, message=str(error))
            except BrokenPipeError:
                return
            except OSError as error:
                self._reply("AudioDecodeError", message=f"{error.filename or 'reading'}: {error.strerror or error}")

    def _reply(self, kind: str, *, then: bytes = b"", **fields: Any) -> None:
        self._replies.write(json.dumps({"kind": kind, **fields}).encode() + b"\n" + then)
        self._replies.flush()

    def _answer(self, request: dict[str, Any]) -> None:
        path = Path(os.fsdecode(bytes.fromhex(request["path"])))
        with open_recording(path) as recording:
            self._reply(
                "opened",
                info=asdict(recording.info),
                metadata=metadata_to_json(read_metadata(path)),
                warnings=recording.warnings,
            )
            if "rate_hz" in request:
                self._send_samples(
                    recording.blocks(
                        rate_hz=request["rate_hz"],
                        max_samples=request["max_samples"],
                        channel=request.get("channel", "mean"),
                    )
                )
            self._reply("ended", duration_s=recording.duration_s, warnings=recording.warnings)

    def _send_samples(self, blocks: Iterator[FloatArray]) -> None:
        if self._ring is None:
            for block in blocks:
                self._reply("samples", n=len(block), then=block.tobytes())
        else:
            self._share_samples(self._ring, blocks)

    def _share_samples(self, ring: SharedRingBuffer, blocks: Iterator[FloatArray]) -> None:
        n = 0
        for block in blocks:
            rest = block
            while len(rest):
                chunk = rest[: SLOT_SAMPLES - n]
                ring.slot(self._free_slot())[n : n + len(chunk)] = chunk
                rest, n = rest[len(chunk) :], n + len(chunk)
                if n == SLOT_SAMPLES:
                    self._reply("samples", slot=self._free.popleft(), n=n)
                    n = 0
        if n:
            self._reply("samples", slot=self._free.popleft(), n=n)

    def _free_slot(self) -> int:
        """Return the slot to write to: the first free one, which stays that until it is sent."""
        while not self._free:
            line = self._requests.readline()
            if not line:  # the caller is gone
                raise BrokenPipeError
            self._free.append(json.loads(line))
        return self._free[0]


def main() -> None:
    """Answer requests until the caller closes the pipe."""
    ring = SharedRingBuffer(int(sys.argv[1])) if len(sys.argv) > 1 else None
    _DecoderServer(ring, sys.stdin.buffer, os.fdopen(os.dup(1), "wb")).run()


if __name__ == "__main__":
    main()
