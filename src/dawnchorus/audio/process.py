"""Decoding in a process of its own, so that a decoder's crash or hang costs one file and not the run.

`DecoderProcess` is the caller's side; `python -m dawnchorus.audio.process [DESCRIPTOR]` is the other. Requests, replies
and the numbers of free slots are lines of JSON. Samples are in a `SharedRingBuffer`, in the open file of this number;
where a process cannot inherit one (Windows), they follow their line through the pipe.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast
from weakref import WeakSet

import numpy as np

from dawnchorus import errors
from dawnchorus.arrays import FloatArray
from dawnchorus.audio.decode import MAX_DECODED_SAMPLES, clip_blocks, open_recording
from dawnchorus.audio.metadata import metadata_from_json, metadata_to_json
from dawnchorus.audio.ring_buffer import N_SLOTS, SLOT_SAMPLES, SharedRingBuffer, reserve_file
from dawnchorus.audio.sample_analyses import SampleAnalyses, SampleAnalysis, Table, table_from_json, table_to_json
from dawnchorus.types import AudioInfo, ChannelSource, RecordingMetadata

STALL_S = 60.0
"""A decoder that gives nothing for this long is taken for hung and ended."""

_READ_BYTES = 1 << 16

_REUSED_BYTES = 16 << 20
"""Freed memory that a decoder keeps for its next block, where the C library is glibc, which would give it back to the
system after each one and spend more time on that than on the samples."""


@dataclass(frozen=True)
class RecordingHeader:
    """Facts that a file states of itself."""

    info: AudioInfo
    metadata: RecordingMetadata
    warnings: tuple[str, ...] = ()
    """Faults of its header."""


class DecoderProcess:
    """A process that decodes one recording after another; it is started on first use and again after a crash."""

    def __init__(self, *, stall_s: float = STALL_S, shares_memory: bool | None = None) -> None:
        """Set up the process; for `shares_memory` see `can_share_memory`, which decides by default."""
        self._stall_s = stall_s
        self._shares_memory = can_share_memory() if shares_memory is None else shares_memory
        self._child: _Child | None = None

    def probe(self, path: Path) -> RecordingHeader:
        """Read the file's header and metadata, without decoding it.

        Raises:
            AudioError: the file cannot be opened, or the decoder crashed or hung on it.
        """
        with self._request(path) as recording:
            for _none in recording.blocks():
                continue
            return recording.header

    def open(
        self,
        path: Path,
        *,
        rate_hz: int | None = None,
        max_samples: int = MAX_DECODED_SAMPLES,
        channel: ChannelSource = "mean",
        analyses: Mapping[str, SampleAnalysis] | None = None,
    ) -> IsolatedRecording:
        """Request a recording at `rate_hz` (default: the file's own rate), to be used in a `with` block.

        The process begins at once and works ahead. It decodes one recording at a time: a request for another one ends
        a recording that is still open. New `analyses` of its samples, by name, run in the process.

        Raises:
            DecoderCrashError: the process has ended.
        """
        decoding: dict[str, Any] = {"rate_hz": rate_hz, "max_samples": max_samples, "channel": channel}
        if analyses:
            decoding["analyses"] = pickle.dumps(dict(analyses)).hex()
        return self._request(path, **decoding)

    def read_clip(
        self, path: Path, *, start_s: float, end_s: float, rate_hz: int, channel: ChannelSource = "mean"
    ) -> FloatArray:
        """Read the part of a recording between two times; see `decode.read_clip`.

        Raises:
            AudioError: the recording cannot be decoded there, or the decoder crashed or hung on it.
        """
        request = {"rate_hz": rate_hz, "channel": channel, "start_s": start_s, "end_s": end_s}
        with self._request(path, **request) as recording:
            return np.concatenate([np.zeros(0, np.float32), *(block.copy() for block in recording.blocks())])

    def is_ready(self, *, within_s: float = 0.0) -> bool:
        """Return True if the process has replied, or has ended; where one cannot ask (Windows), always."""
        child = self._child
        return child is None or child.is_ready(within_s)

    def abandon(self) -> None:
        """End the process if a recording is still open: its replies would be taken for those to a later request."""
        if self._child is not None and self._child.recording is not None:
            self.close()

    def close(self) -> None:
        """End the process. A later request starts a new one."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _request(self, path: Path, **decoding: Any) -> IsolatedRecording:
        self.abandon()
        child = self._start()
        child.recording = recording = IsolatedRecording(child, path)
        try:
            child.send(path, {"path": os.fsencode(path).hex(), **decoding})
        except errors.AudioError:
            recording.close()
            raise
        return recording

    def _start(self) -> _Child:
        if self._child is None or self._child.process.poll() is not None:
            self.close()
            if self._shares_memory:
                with reserve_file() as file:
                    ring = SharedRingBuffer(file.fileno())
                    self._child = _Child(_start_child(file.fileno()), ring, self._stall_s)
            else:
                self._child = _Child(_start_child(), None, self._stall_s)
        return self._child


class IsolatedRecording:
    """A recording that a `DecoderProcess` decodes, of the shape of `decode.OpenRecording`.

    Entering the block reads the header; leaving it before the last sample was read ends the process.
    """

    header: RecordingHeader

    def __init__(self, child: _Child, path: Path) -> None:
        self.path = path
        self._child = child
        self._duration_s: float | None = None
        self._warnings: tuple[str, ...] = ()
        self.tables: dict[str, Table] = {}
        """Tables of the analyses by name, after the last block."""

    def __enter__(self) -> Self:
        """Read the header.

        Raises:
            AudioError: the file cannot be opened, or the decoder crashed or hung on it.
        """
        try:
            reply = self._receive()
        except BaseException:
            self.close()
            raise
        info, metadata = AudioInfo(**reply["info"]), metadata_from_json(reply["metadata"])
        self.header = RecordingHeader(info, metadata, tuple(reply["warnings"]))
        self._warnings = self.header.warnings
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def info(self) -> AudioInfo:
        """Header of the sound file."""
        return self.header.info

    @property
    def metadata(self) -> RecordingMetadata:
        """Location and time."""
        return self.header.metadata

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of the header; after the last block, those of the samples as well."""
        return self._warnings

    @property
    def duration_s(self) -> float:
        """True length, after the last block."""
        return self._duration_s or 0.0

    def blocks(self) -> Iterator[FloatArray]:
        """Yield mono float32 blocks [samples]; a block is valid until the next one is requested.

        Raises:
            AudioError: the recording cannot be decoded, or the decoder crashed or hung on it.
        """
        while (reply := self._receive())["kind"] == "samples":
            if self._child.ring is not None:
                yield self._child.ring.slot(reply["slot"])[: reply["n"]]
                self._child.send(self.path, reply["slot"])
            else:
                yield np.frombuffer(self._child.receive_bytes(self.path, 4 * reply["n"]), np.float32)
        self._duration_s, self._warnings = reply["duration_s"], tuple(reply["warnings"])
        self.tables = {name: table_from_json(fields) for name, fields in reply["tables"].items()}
        self._child.recording = None

    def close(self) -> None:
        """End the process, unless all of its replies were read."""
        if self._child.recording is self:
            self._child.recording = None
            self._child.close()

    def _receive(self) -> dict[str, Any]:
        """Return the next reply of the process; raise an error that it reports, after which it owes nothing more."""
        reply: dict[str, Any] = json.loads(self._child.receive_line(self.path))
        if reply["kind"] not in ("opened", "samples", "ended"):
            self._child.recording = None
            raise getattr(errors, reply["kind"])(self.path, reply["reason"])
        return reply


class _Child:
    """A running decoder: its process, pipes and memory."""

    def __init__(self, process: subprocess.Popen[bytes], ring: SharedRingBuffer | None, stall_s: float) -> None:
        self.process, self.ring, self.stall_s = process, ring, stall_s
        self.recording: IsolatedRecording | None = None
        """The recording whose replies have not been read to the end."""
        self.waiting_since: float | None = None
        """Time since which a caller waits for a reply."""
        self.is_stalled = False
        self._received = bytearray()
        _WATCHDOG.watch(self)

    def send(self, path: Path, message: dict[str, Any] | int) -> None:
        """Write a line.

        Raises:
            DecoderCrashError: nobody reads it.
        """
        stdin = cast(IO[bytes], self.process.stdin)
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except (OSError, ValueError) as error:  # ValueError: closed by another thread
            raise self._describe_end(path) from error

    def receive_line(self, path: Path) -> bytes:
        """Read a line.

        Raises:
            DecoderCrashError: the process ended instead, or kept its caller waiting for too long.
        """
        while (end := self._received.find(b"\n")) < 0:
            self._read(path)
        return self._cut(end + 1)

    def receive_bytes(self, path: Path, n: int) -> bytes:
        """Read `n` bytes; see `receive_line`."""
        while len(self._received) < n:
            self._read(path)
        return self._cut(n)

    def is_ready(self, within_s: float) -> bool:
        """Return True if there is something to read, or there never will be."""
        if self._received or not hasattr(select, "poll"):
            return True
        poll = select.poll()
        try:
            poll.register(cast(IO[bytes], self.process.stdout), select.POLLIN)
        except ValueError:  # closed by another thread
            return True
        return bool(poll.poll(1000 * within_s))

    def close(self) -> None:
        """End the process; a thread that waits for it gets a DecoderCrashError."""
        _WATCHDOG.forget(self)
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a request that the ended process never read
                    pipe.close()
        self.process.wait()

    def _read(self, path: Path) -> None:
        # BufferedReader: its lock keeps `close` from closing the file in the midst of a read.
        stdout = cast("io.BufferedReader", self.process.stdout)
        self.waiting_since = time.monotonic()
        try:
            received = stdout.read1(_READ_BYTES)
        except ValueError as error:  # closed by another thread
            raise self._describe_end(path) from error
        finally:
            self.waiting_since = None
        if not received:
            raise self._describe_end(path)
        self._received += received

    def _cut(self, n: int) -> bytes:
        received = bytes(self._received[:n])
        del self._received[:n]
        return received

    def _describe_end(self, path: Path) -> errors.DecoderCrashError:
        if self.is_stalled:
            return errors.DecoderCrashError(
                path,
                f"the decoder gave nothing for {self.stall_s:g} s and was ended. "
                f"The file, or the drive that it is on, is probably damaged.",
            )
        return errors.DecoderCrashError(
            path, f"the decoder crashed on this file (exit status {self.process.wait()}). The file is probably damaged."
        )


class _Watchdog:
    """A thread that ends the decoders that keep their callers waiting for too long; it lives while there are any."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a fork has to: it has neither the thread nor the decoders."""
        self._children: WeakSet[_Child] = WeakSet()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, child: _Child) -> None:
        """Start watching a decoder."""
        with self._changed:
            self._children.add(child)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="dawnchorus-watchdog")
                self._thread.start()
            self._changed.notify()

    def forget(self, child: _Child) -> None:
        """Stop watching a decoder."""
        with self._changed:
            self._children.discard(child)
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while children := list(self._children):
                self._changed.wait(min(child.stall_s for child in children) / 8)
                self._end_stalled()
                del children
            self._thread = None

    def _end_stalled(self) -> None:
        now = time.monotonic()
        for child in self._children:
            since = child.waiting_since
            if since is not None and now - since > child.stall_s:
                child.is_stalled = True
                child.process.kill()


_WATCHDOG = _Watchdog()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WATCHDOG.reset)


def can_share_memory() -> bool:
    """Return True where a child can inherit an open file to map; DAWNCHORUS_SHARED_MEMORY=0 says no everywhere."""
    return sys.platform != "win32" and os.environ.get("DAWNCHORUS_SHARED_MEMORY") != "0"


def _start_child(*descriptors: int) -> subprocess.Popen[bytes]:
    """Start a decoder, which inherits the open files and receives their numbers."""
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
    reused = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(_REUSED_BYTES))
    return {**os.environ, **single, **reused, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


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
                self._reply(type(error).__name__, reason=error.reason)
            except BrokenPipeError:
                return
            except OSError as error:
                self._reply("AudioDecodeError", reason=f"it cannot be read ({error.strerror or error})")

    def _reply(self, kind: str, *, then: bytes = b"", **fields: Any) -> None:
        self._replies.write(json.dumps({"kind": kind, **fields}).encode() + b"\n" + then)
        self._replies.flush()

    def _answer(self, request: dict[str, Any]) -> None:
        path = Path(os.fsdecode(bytes.fromhex(request["path"])))
        with open_recording(path) as recording:
            self._reply(
                "opened",
                info=asdict(recording.info),
                metadata=metadata_to_json(recording.metadata),
                warnings=recording.warnings,
            )
            # The caller is our parent, which made these bytes itself.
            new = pickle.loads(bytes.fromhex(request["analyses"])) if "analyses" in request else {}  # noqa: S301
            analyses = SampleAnalyses(new)
            if "start_s" in request:
                clip = {name: request[name] for name in ("start_s", "end_s", "rate_hz", "channel")}
                self._send_samples(clip_blocks(path, **clip))
            elif "rate_hz" in request:
                self._send_samples(
                    recording.blocks(
                        rate_hz=request["rate_hz"],
                        max_samples=request["max_samples"],
                        channel=request["channel"],
                        analyses=analyses if new else None,
                    )
                )
            tables = {name: table_to_json(table) for name, table in analyses.finish().items()}
            warnings = [*recording.warnings, *analyses.warnings]
            self._reply("ended", duration_s=recording.duration_s, warnings=warnings, tables=tables)

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
