"""A running decoder process, seen from its caller: pipes, memory, and the watchdog that ends it when it hangs."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast
from weakref import WeakSet

from dawnchorus import errors
from dawnchorus.audio.ring_buffer import SharedRingBuffer
from dawnchorus.storage.paths import is_remote

_READ_BYTES = 1 << 16

_REUSED_BYTES = 16 << 20
"""Freed memory that a decoder keeps for its next block, where the C library is glibc, which would give it back to the
system after each one and spend more time on that than on the samples."""


class DecoderChild:
    """A running decoder: its process, pipes and memory."""

    def __init__(self, process: subprocess.Popen[bytes], ring: SharedRingBuffer | None, stall_s: float) -> None:
        self.process, self.ring, self.stall_s = process, ring, stall_s
        self.recording: object = None
        """The recording whose replies have not been read to the end."""
        self.waiting_since: float | None = None
        """Time since which a caller waits for a reply."""
        self.repeated_s = 0.0
        """Time for which requests to a store may be repeated, besides `stall_s`."""
        self.is_stalled = False
        self._received = bytearray()
        _WATCHDOG.watch(self)

    def send(self, path: Path, message: dict[str, Any] | int) -> None:
        """Write a line.

        Raises:
            DecoderCrashError: the process has ended.
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
            DecoderCrashError: the process ended instead, kept its caller waiting for too long, or was closed.
        """
        self._refuse_closed(path)
        while (end := self._received.find(b"\n")) < 0:
            self._read(path)
        return self._cut(end + 1)

    def receive_bytes(self, path: Path, n: int) -> bytes:
        """Read `n` bytes; see `receive_line`."""
        self._refuse_closed(path)
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

    def _refuse_closed(self, path: Path) -> None:
        """Raise a DecoderCrashError after `close`, also where replies were received ahead."""
        if cast(IO[bytes], self.process.stdout).closed:
            raise self._describe_end(path)

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
            cause = (
                "The store does not answer, or the file is damaged."
                if is_remote(path)
                else "The file, or the drive that it is on, is probably damaged."
            )
            return errors.DecoderCrashError(
                f"the decoder gave nothing for {self.stall_s + self.repeated_s:g} s and was ended. {cause}",
                subject=path,
            )
        return errors.DecoderCrashError(
            f"the decoder crashed on this file (exit status {self.process.wait()}). The file is probably damaged.",
            subject=path,
        )


class Watchdog:
    """A thread that ends the decoders that keep their callers waiting for too long; it lives while there are any."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a fork has to: it has neither the thread nor the decoders."""
        self._children: WeakSet[DecoderChild] = WeakSet()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, child: DecoderChild) -> None:
        """Start watching a decoder."""
        with self._changed:
            self._children.add(child)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="dawnchorus-watchdog")
                self._thread.start()
            self._changed.notify()

    def forget(self, child: DecoderChild) -> None:
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
            if since is not None and now - since > child.stall_s + child.repeated_s:
                child.is_stalled = True
                child.process.kill()


_WATCHDOG = Watchdog()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WATCHDOG.reset)


def can_share_memory() -> bool:
    """Return True where a child can inherit an open file to map; DAWNCHORUS_SHARED_MEMORY=0 says no everywhere."""
    return sys.platform != "win32" and os.environ.get("DAWNCHORUS_SHARED_MEMORY") != "0"


def start_child(*descriptors: int) -> subprocess.Popen[bytes]:
    """Start a decoder, which inherits the open files and receives their numbers."""
    return subprocess.Popen(
        # -P: the current folder holds the user's data, not modules.
        [sys.executable, "-P", "-m", "dawnchorus.audio.decoder_server", *map(str, descriptors)],
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
