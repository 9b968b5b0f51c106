"""The caller's handle of a decoder process: pipes, shared memory, and a watchdog that kills a hanging process."""

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
"""Size in bytes of freed memory that a decoder keeps for its next block.

glibc would otherwise return it to the system after each block, which takes more time than the decoding.
"""


class DecoderChild:
    """A running decoder process, with its pipes and shared memory.

    Args:
        process: the process, as `start_child` returns it.
        ring: memory for samples, shared with the process; None if samples come through the pipe.
        stall_s: seconds without output after which the process is killed, while a caller waits for a reply.
    """

    def __init__(self, process: subprocess.Popen[bytes], ring: SharedRingBuffer | None, stall_s: float) -> None:
        self.process, self.ring, self.stall_s = process, ring, stall_s
        self.recording: object = None
        """Recording whose replies have not all been read; None if there is no such recording."""
        self.waiting_since: float | None = None
        """Monotonic time since which a caller waits for a reply; None if none waits."""
        self.repeated_s = 0.0
        """Seconds for which requests to a store may be retried; the watchdog adds them to `stall_s`."""
        self.is_stalled = False
        self._received = bytearray()
        _WATCHDOG.watch(self)

    def send(self, path: Path, message: dict[str, Any] | int) -> None:
        """Send a line of JSON to the process: a request, or the number of a slot of the ring that is free again.

        `path` is that of the recording, for the error.

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
        """Read a line from the process, with its line feed; `path` is that of the recording, for the error.

        Raises:
            DecoderCrashError: the process ended, was killed because it hung, or was closed.
        """
        self._refuse_closed(path)
        while (end := self._received.find(b"\n")) < 0:
            self._read(path)
        return self._cut(end + 1)

    def receive_bytes(self, path: Path, n: int) -> bytes:
        """Read `n` bytes from the process; `path` is that of the recording, for the error.

        Raises:
            DecoderCrashError: the process ended, was killed because it hung, or was closed.
        """
        self._refuse_closed(path)
        while len(self._received) < n:
            self._read(path)
        return self._cut(n)

    def is_ready(self, within_s: float) -> bool:
        """Return True if there is something to read or the process has ended; wait up to `within_s` seconds.

        Always True on Windows, where this cannot be checked.
        """
        if self._received or not hasattr(select, "poll"):
            return True
        poll = select.poll()
        try:
            poll.register(cast(IO[bytes], self.process.stdout), select.POLLIN)
        except ValueError:  # closed by another thread
            return True
        return bool(poll.poll(1000 * within_s))

    def close(self) -> None:
        """Kill the process and wait for its end; a thread that waits for a reply gets a DecoderCrashError."""
        _WATCHDOG.forget(self)
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a request that the ended process never read
                    pipe.close()
        self.process.wait()

    def _refuse_closed(self, path: Path) -> None:
        """Raise DecoderCrashError if the process was closed, even if there are unread replies."""
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
    """Thread that kills decoder processes that keep a caller waiting too long for a reply.

    Too long is more than `DecoderChild.stall_s`, plus the time for which requests to the recording's store may be
    repeated. The thread starts with the first watched process, and ends when no watched process is left.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the thread and all decoder processes; needed after a fork, since the new process has neither."""
        self._children: WeakSet[DecoderChild] = WeakSet()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, child: DecoderChild) -> None:
        """Start watching a decoder process."""
        with self._changed:
            self._children.add(child)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="dawnchorus-watchdog")
                self._thread.start()
            self._changed.notify()

    def forget(self, child: DecoderChild) -> None:
        """Stop watching a decoder process."""
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
    """Return True if samples can be passed in shared memory; False on Windows, and if DAWNCHORUS_SHARED_MEMORY is 0."""
    return sys.platform != "win32" and os.environ.get("DAWNCHORUS_SHARED_MEMORY") != "0"


def start_child(*descriptors: int) -> subprocess.Popen[bytes]:
    """Start a decoder process, and return it.

    `descriptors` is that of the open file for shared memory, which the process inherits; empty to pass samples through
    the pipe.
    """
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
    """Return the child's environment: this process's module path, and one thread in each numerical library."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    reused = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(_REUSED_BYTES))
    return {**os.environ, **single, **reused, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
