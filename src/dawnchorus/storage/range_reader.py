"""Reading of an object by HTTP ranges, with read-ahead."""

from __future__ import annotations

import errno
import io
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from dawnchorus.storage.positioned_file import PositionedFile
from dawnchorus.storage.stores import NoRangesError, ObjectInfo, Store, open_store, raise_truncated
from dawnchorus.storage.urls import ObjectUrl

FIRST_BYTES = 1 << 16
"""Size of the first range, and of each that does not follow another: enough for most headers."""

MAX_RANGE_BYTES = 1 << 21
"""Maximum size of a range in sequential reading."""

GROWTH = 8
"""Ratio of the sizes of two successive ranges in sequential reading."""

N_AHEAD = 2
"""Ranges of full size that are requested in advance."""

N_KEPT = 4
"""Cached ranges in addition to the first one, including those requested in advance: at most 8 MB an object."""

BUFFER_BYTES = 1 << 18
"""Buffer size of an open file: decoders read a few kilobytes at a time."""


Result = TypeVar("Result")


@dataclass(eq=False)
class _Range:
    start: int
    stop: int
    content: Future[memoryview]


class RemoteObject:
    """An object in a store that is read by ranges, which all open files of it share.

    The constructor sends no request. Methods that send one also raise the errors of `stores.open_store`.

    Args:
        url: URL of the object.
        info: size and expected version of the object; None to request them on first use.
        store: the store that has the object; None to open the URL's store on first use.

    Attributes:
        url: URL of the object.
        failure: the first error of a request, since decoders and readers of metadata take an error for the end of the
            file; None without any.
        n_read: offset after the last byte that was read so far.
    """

    def __init__(self, url: ObjectUrl, info: ObjectInfo | None = None, *, store: Store | None = None) -> None:
        self.url = url
        self._opened = store
        self.failure: OSError | None = None
        self.n_read = 0
        self._info = info
        self._lock = threading.RLock()
        self._ranges: list[_Range] = []
        """Cached ranges: that at the object's start first, then in the order of their last use."""
        self._threads: ThreadPoolExecutor | None = None
        self._copy: BinaryIO | None = None

    @property
    def info(self) -> ObjectInfo:
        """Size and version of the object, requested on first use.

        Raises:
            OSError: there is no such object, or the store failed.
        """
        if self._info is None:
            self._info = self._guard(lambda: self._store.head(self.url.key))
        return self._info

    def open(self) -> io.BufferedReader:
        """Open the object as a seekable binary file for reading.

        Raises:
            OSError: there is no such object, or the store failed.
        """
        return io.BufferedReader(_RangeFile(self, self.info.size), BUFFER_BYTES)

    def read(self, start: int, n: int) -> memoryview:
        """Return at least 1 and at most `n` bytes from offset `start`; no bytes if `start` is at or after the end.

        Raises:
            OSError: there is no such object, the store failed, or the object was replaced.
        """
        if start >= self.info.size or n <= 0:
            return memoryview(b"")
        with self._lock:
            if self._copy is not None:
                return self._read_copy(start, n)
            loaded = self._find(start)
        content = self._guard(loaded.content.result)
        if self._is_copied:  # meanwhile
            return self.read(start, n)
        part = content[start - loaded.start : start - loaded.start + n]
        if not part:
            self._guard(raise_truncated)
        self.n_read = max(self.n_read, start + len(part))
        return part

    def close(self) -> None:
        """Release cached ranges, without waiting for requests under way; a later read requests ranges again."""
        with self._lock:
            threads, self._threads = self._threads, None
            copy, self._copy = self._copy, None
            self._ranges.clear()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        if copy is not None:
            copy.close()

    @property
    def _is_copied(self) -> bool:
        return self._copy is not None

    @property
    def _store(self) -> Store:
        return self._opened or open_store(self.url)

    def _find(self, start: int) -> _Range:
        """Return the range with the byte at `start`; in sequential reading, request the next ranges as well."""
        loaded = next((each for each in self._ranges if each.start <= start < each.stop), None)
        if loaded is None:
            before = next((each for each in self._ranges if each.stop == start), None)
            size = FIRST_BYTES if before is None else min(GROWTH * (before.stop - before.start), MAX_RANGE_BYTES)
            loaded = self._request(start, size)
        else:
            self._keep(loaded)
        if loaded.stop - loaded.start >= MAX_RANGE_BYTES:
            last = loaded
            for _ in range(N_AHEAD):
                if last.stop >= self.info.size:
                    break
                last = next((each for each in self._ranges if each.start == last.stop), None) or self._request(
                    last.stop, MAX_RANGE_BYTES
                )
        return loaded

    def _request(self, start: int, size: int) -> _Range:
        stop = min(start + size, self.info.size)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1 + N_AHEAD, thread_name_prefix="dawnchorus-store")
        new = _Range(start, stop, self._threads.submit(self._fetch, start, stop))
        self._keep(new)
        return new

    def _keep(self, used: _Range) -> None:
        """Mark a range as the last used one, and drop the least recently used ranges beyond the limit."""
        if used in self._ranges:
            self._ranges.remove(used)
        self._ranges.insert(0 if used.start == 0 else len(self._ranges), used)
        while len(self._ranges) > 1 + N_KEPT:
            self._ranges.pop(1 if self._ranges[0].start == 0 else 0)

    def _fetch(self, start: int, stop: int) -> memoryview:
        try:
            return self._store.read(self.url.key, start, stop, expected=self.info)
        except NoRangesError:
            with self._lock:
                if self._copy is None:
                    self._copy = self._copy_whole()
            return memoryview(b"")

    def _copy_whole(self) -> BinaryIO:
        """Copy an object to a temporary file, if its server does not support ranges.

        The file has no name, so the system removes it even if the process is killed.
        """
        copy = tempfile.TemporaryFile(prefix="dawnchorus-")  # noqa: SIM115 - it is closed with the object
        try:
            free = shutil.disk_usage(tempfile.gettempdir()).free
            if free < self.info.size:
                raise OSError(
                    errno.ENOSPC,
                    f"the server gives no ranges, and there is no space for a copy of {self.info.size} bytes in "
                    f"{tempfile.gettempdir()}. Set TMPDIR to another folder",
                )
            self._store.copy_to(self.url.key, copy)
            if copy.tell() != self.info.size:
                raise_truncated()
        except BaseException:
            copy.close()
            raise
        return copy

    def _read_copy(self, start: int, n: int) -> memoryview:
        assert self._copy is not None  # noqa: S101 - for the type checkers
        self._copy.seek(start)
        content = self._copy.read(n)
        self.n_read = max(self.n_read, start + len(content))
        return memoryview(content)

    def _guard(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except OSError as error:
            self.failure = self.failure or error
            raise


class _RangeFile(PositionedFile):
    """An open file over a `RemoteObject`, with its own position."""

    def __init__(self, content: RemoteObject, size: int) -> None:
        super().__init__(size)
        self._content = content

    def read_at(self, start: int, n: int) -> memoryview:
        return self._content.read(start, n)
