"""Rendering of responses that need much time or memory (spectrograms, clips, tables), with few threads into files."""

from __future__ import annotations

import asyncio
import errno
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from dawnchorus.errors import NotFoundError, OverloadedError
from dawnchorus.storage.files import cannot_write

MAX_RUNNING = 2
"""Maximum number of responses rendered at the same time; bounds memory and CPU load."""

MAX_WAITING = 32
"""Maximum number of responses in the queue."""

MAX_CACHE_BYTES = 256 << 20
"""Maximum size of the rendered responses on disk."""

NEWEST_SHARE = 0.2
"""Weight of the newest response in the exponential moving average of rendering times."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk or an exhausted quota."""

Write = Callable[[BinaryIO], object]
"""Function that writes a response's body into an open binary file; called in a thread of the renderer."""

Result = TypeVar("Result")


@dataclass
class _Pending:
    """A response that is being rendered, with the number of requests that wait for the response."""

    task: asyncio.Task[Path]
    n_requests: int = 0


@dataclass(frozen=True)
class _Finished:
    """A response in the cache."""

    path: Path
    n_bytes: int


class Renderer:
    """Thread pool that renders responses into files, and an LRU cache of the files; for use in one event loop.

    A response in the cache is identified by the sha256 of its recording and by its parameters.

    Args:
        folder: existing folder for the files.
        max_running: maximum number of responses that are rendered at the same time.
        max_waiting: maximum number of responses in the queue.
        max_cache_bytes: maximum size of the cached files in total; the latest file stays even if it is larger.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_running: int = MAX_RUNNING,
        max_waiting: int = MAX_WAITING,
        max_cache_bytes: int = MAX_CACHE_BYTES,
    ) -> None:
        self._folder, self._max_cache_bytes = folder, max_cache_bytes
        self._threads = ThreadPoolExecutor(max_running, thread_name_prefix="render")
        self._slots = threading.BoundedSemaphore(max_running + max_waiting)
        self._queue_length = max_waiting / max_running
        self._pending: dict[tuple[str, Hashable], _Pending] = {}
        self._finished: OrderedDict[tuple[str, Hashable], _Finished] = OrderedDict()
        self._n_bytes = 0
        self._mean_s = 1.0

    def close(self) -> None:
        """Cancel the responses in the queue, and wait for the responses that are being rendered."""
        self._threads.shutdown(cancel_futures=True)

    async def get_or_render(self, sha256: str, parameters: Hashable, write: Write) -> BinaryIO:
        """Open a response from the cache, or render it and add it to the cache.

        Concurrent calls for the same response share one rendering, which is cancelled if all callers are cancelled.
        Exceptions of `write` are raised.

        Args:
            sha256: sha256 of the recording.
            parameters: kind and options of the response; the same parameters must mean the same content.
            write: function that writes the body of the response to an open binary file; called in a thread.

        Returns:
            The open file, positioned at its start, which the caller closes.

        Raises:
            OverloadedError: `max_running` responses are being rendered, and `max_waiting` wait.
            OutputError: no space on the disk for the response.
            NotFoundError: the recording was deleted during the rendering.
        """
        key = sha256, parameters
        if key in self._finished:
            self._finished.move_to_end(key)
            return self._finished[key].path.open("rb")
        if key not in self._pending:
            self._pending[key] = _Pending(asyncio.create_task(self._render(key, write)))
        pending = self._pending[key]
        pending.n_requests += 1
        try:
            path = await asyncio.shield(pending.task)
        finally:
            pending.n_requests -= 1
            if not pending.n_requests:
                pending.task.cancel()
                if self._pending.get(key) is pending:
                    del self._pending[key]
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"the recording {sha256[:12]} was deleted meanwhile.") from None

    async def render_once(self, write: Write) -> BinaryIO:
        """Render a response into a temporary file without caching, and return the open file.

        The file is positioned at its start, and deleted when the caller closes it. Exceptions of `write` are raised.

        Args:
            write: function that writes the body of the response to an open binary file; called in a thread.

        Raises:
            OverloadedError: `max_running` responses are being rendered, and `max_waiting` wait.
            OutputError: no space on the disk for the response.
        """
        try:
            file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 - the caller closes it
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        await self._fill(file, write)
        return file

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in a thread of the renderer, and return its result.

        Cancellation removes `work` from the queue, but does not interrupt `work` that runs already. Exceptions of
        `work` are raised.

        Raises:
            OverloadedError: `max_running` responses are being rendered, and `max_waiting` wait.
        """
        if not self._slots.acquire(blocking=False):
            raise OverloadedError(
                "too many spectrograms, clips and tables are waiting. Try again later.",
                retry_after_s=max(self._mean_s * self._queue_length, 1.0),
            )
        future = self._threads.submit(self._measure, work)
        future.add_done_callback(lambda _: self._slots.release())
        return await asyncio.wrap_future(future)

    def discard(self, sha256: str) -> None:
        """Delete all cached responses of the recording with this sha256."""
        for key in [key for key in self._finished if key[0] == sha256]:
            self._remove(key)

    def _measure(self, work: Callable[[], Result]) -> Result:
        start_s = time.monotonic()
        try:
            return work()
        finally:
            self._mean_s += NEWEST_SHARE * (time.monotonic() - start_s - self._mean_s)

    async def _render(self, key: tuple[str, Hashable], write: Write) -> Path:
        path = self._folder / f"response-{uuid.uuid4().hex}"
        try:
            file = cast("BinaryIO", path.open("x+b"))
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        try:
            await self._fill(file, write)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        file.close()
        self._add_to_cache(key, _Finished(path, path.stat().st_size))
        return path

    async def _fill(self, file: BinaryIO, write: Write) -> None:
        """Write a response into `file`, and rewind the file.

        On failure and cancellation the file is closed, so that a running `write` fails at its next access.
        """
        try:
            await self.run(partial(_write_and_rewind, write, file))
        except BaseException as error:
            with suppress(OSError):  # bytes that did not fit are flushed again
                file.close()
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise cannot_write(self._folder, error) from error
            raise

    def _add_to_cache(self, key: tuple[str, Hashable], response: _Finished) -> None:
        """Add a response to the cache, and evict the least recently used responses until the cache is small enough."""
        self._finished[key] = response
        self._n_bytes += response.n_bytes
        while self._n_bytes > self._max_cache_bytes and len(self._finished) > 1:
            self._remove(next(iter(self._finished)))

    def _remove(self, key: tuple[str, Hashable]) -> None:
        response = self._finished.pop(key)
        self._n_bytes -= response.n_bytes
        with suppress(OSError):  # open on Windows: deleted with the folder
            response.path.unlink()


def _write_and_rewind(write: Write, file: BinaryIO) -> None:
    write(file)
    file.seek(0)
