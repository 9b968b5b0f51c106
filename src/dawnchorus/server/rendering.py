"""Answers that take long or much memory to make: a few at once, the rest in a bounded queue, the results in files."""

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
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from dawnchorus.errors import NotFoundError, OverloadedError
from dawnchorus.storage.files import cannot_write

MAX_RUNNING = 2
"""Answers that are rendered at once; bounds memory and the share of the processor."""

MAX_WAITING = 32
"""Answers that wait for a thread; more are refused."""

MAX_CACHE_BYTES = 256 << 20
"""Of finished answers on disk."""

NEWEST_SHARE = 0.2
"""Of the newest answer in the moving average of rendering times."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

Write = Callable[[BinaryIO], object]
"""Writes an answer to a file; called in a thread."""

Result = TypeVar("Result")


@dataclass
class _Pending:
    """An answer that is being rendered, and the number of requests that wait for it."""

    task: asyncio.Task[Path]
    n_requests: int = 0


@dataclass(frozen=True)
class _Finished:
    """An answer in the cache."""

    path: Path
    n_bytes: int


class Renderer:
    """Threads that render answers into files in `folder`, and a cache of them; all methods belong to one event loop.

    An answer is known by the sha256 of the recording that it shows, and by parameters.
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
        """Stop; drop what waits."""
        self._threads.shutdown(cancel_futures=True)

    async def cached(self, sha256: str, parameters: Hashable, write: Write) -> BinaryIO:
        """Open an answer from the cache; render it first if it is not there. Requests for the same share one rendering.

        Raises:
            OverloadedError: too many answers wait.
            OutputError: no space for the answer.
            NotFoundError: the recording was removed meanwhile.
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
            raise NotFoundError(f"the recording {sha256[:12]} was removed meanwhile.") from None

    async def once(self, write: Write) -> BinaryIO:
        """Render an answer that is not kept: its file is removed when it is closed.

        Raises:
            OverloadedError: too many answers wait.
            OutputError: no space for the answer.
        """
        try:
            file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 - the caller closes it
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        await self._fill(file, write)
        return file

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in one of the threads. Cancelling gives up the place in the queue; what runs already is finished.

        Raises:
            OverloadedError: too many answers wait.
        """
        if not self._slots.acquire(blocking=False):
            raise OverloadedError(
                "too many pictures, clips and tables are waiting. Try again later.",
                retry_after_s=max(self._mean_s * self._queue_length, 1.0),
            )
        future = self._threads.submit(self._timed, work)
        future.add_done_callback(lambda _: self._slots.release())
        return await asyncio.wrap_future(future)

    def drop(self, sha256: str) -> None:
        """Remove all answers of a recording from the cache."""
        for key in [key for key in self._finished if key[0] == sha256]:
            self._remove(key)

    def _timed(self, work: Callable[[], Result]) -> Result:
        begin = time.monotonic()
        try:
            return work()
        finally:
            self._mean_s += NEWEST_SHARE * (time.monotonic() - begin - self._mean_s)

    async def _render(self, key: tuple[str, Hashable], write: Write) -> Path:
        path = self._folder / f"answer-{uuid.uuid4().hex}"
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
        self._keep(key, _Finished(path, path.stat().st_size))
        return path

    async def _fill(self, file: BinaryIO, write: Write) -> None:
        """Write an answer and go back to its beginning.

        On failure and cancellation the file is closed, which also ends a writer that is at work.
        """

        def fill() -> None:
            write(file)
            file.seek(0)

        try:
            await self.run(fill)
        except BaseException as error:
            with suppress(OSError):  # bytes that did not fit are flushed again
                file.close()
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise cannot_write(self._folder, error) from error
            raise

    def _keep(self, key: tuple[str, Hashable], answer: _Finished) -> None:
        """Put an answer into the cache; remove those that were not asked for longest, until it fits."""
        self._finished[key] = answer
        self._n_bytes += answer.n_bytes
        while self._n_bytes > self._max_cache_bytes and len(self._finished) > 1:
            self._remove(next(iter(self._finished)))

    def _remove(self, key: tuple[str, Hashable]) -> None:
        answer = self._finished.pop(key)
        self._n_bytes -= answer.n_bytes
        with suppress(OSError):  # open on Windows: removed with the folder
            answer.path.unlink()
