"""Files kept by what is in them: the same sound is kept once, whoever sends it, on disk or in any store of fsspec's."""

from __future__ import annotations

import contextlib
import hashlib
import re
import uuid
from collections.abc import Callable, Container, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.storage.files import cannot_write

PART = 1 << 18
"""Bytes in memory at a time, of each file that is read."""

_OURS = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{64})(\.[0-9a-f]{32}\.part)?$")


class FileStore:
    """Files by their sha256, each there as a whole or not at all."""

    def __init__(self, place: str | Path, *, cache: Path, scratch: Path) -> None:
        """`place` is a folder, or an address of fsspec's; of the latter, files in use are copied to `cache`.

        `scratch` is for files that are not whole yet, on the same drive as `cache`.

        Raises:
            InputError: an address that fsspec does not know.
        """
        try:
            # What other servers put or drop is seen at once.
            self._system, self._root = fsspec.core.url_to_fs(str(place), use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise InputError(f"--files: {place}: {error}") from error
        self._is_local = isinstance(self._system, LocalFileSystem)
        self._cache, self._scratch = cache, scratch

    def put(self, path: Path) -> str:
        """Keep a copy of the file, and give its sha256.

        Raises:
            OutputError: no space, no permission.
        """
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        target = self._path(sha256)
        if self._system.exists(target):
            return sha256
        # Written under another name first: a store that is cut off in the middle leaves nothing that looks whole.
        part = f"{target}.{uuid.uuid4().hex}.part"
        try:
            self._system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self._system.put_file(str(path), part)
            self._system.mv(part, target)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._system.rm_file(part)
            raise cannot_write(Path(self._root), error) from error
        return sha256

    def ensure(self, sha256: str, path: Path) -> None:
        """Keep the file again, if somebody has dropped it since it was put."""
        if self.size(sha256) is None:
            self.put(path)

    def size(self, sha256: str) -> int | None:
        """Bytes of a file; None where it is not there."""
        try:
            return int(self._system.size(self._path(sha256)))
        except FileNotFoundError:
            return None

    def local(self, sha256: str) -> Path:
        """Return the path of a file on this machine with the content; it must not be changed.

        Raises:
            NotFoundError: it is not there.
        """
        if self.size(sha256) is None:
            raise NotFoundError(f"the file {sha256[:12]} is not in the store any more.")
        if self._is_local:
            return Path(self._path(sha256))
        copy = self._cache / sha256
        if not copy.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            part = self._scratch / f"{sha256}.{uuid.uuid4().hex}.part"
            self._system.get_file(self._path(sha256), str(part))
            part.replace(copy)
        return copy

    def read(self, sha256: str, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `begin` up to `end`, in parts."""
        with self._system.open(self._path(sha256), "rb") as file:
            file.seek(begin)
            while begin < end and (part := file.read(min(PART, end - begin))):
                begin += len(part)
                yield part

    def drop(self, sha256: str) -> None:
        """Remove a file, and its copy here."""
        (self._cache / sha256).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(sha256))

    def sweep(self, wanted: Container[str]) -> None:
        """Remove files of ours that are not `wanted`, and what was cut off; only while nobody else writes."""
        self._remove(lambda path: path.rsplit("/", 1)[1] not in wanted)

    def sweep_parts(self, *, older_than: timedelta) -> None:
        """Remove what was cut off so long ago, by the store's own clock; other servers may be writing."""
        try:
            before = self.now() - older_than
        except NotImplementedError:  # a store that does not tell when a file was written
            return
        self._remove(lambda path: path.endswith(".part") and self._system.modified(path) < before)

    def now(self) -> datetime:
        """Return the time by the clock that dates the store's files, which may differ from this machine's.

        Raises:
            OSError: the store cannot be written.
            NotImplementedError: it does not tell when a file was written.
        """
        probe = f"{self._root}/.clock.{uuid.uuid4().hex}"
        self._system.makedirs(self._root, exist_ok=True)
        self._system.pipe_file(probe, b"now")
        try:
            moment: datetime = self._system.modified(probe)
        finally:
            self._system.rm_file(probe)
        return moment

    def _remove(self, is_unwanted: Callable[[str], bool]) -> None:
        for path in self._system.find(self._root):
            match = _OURS.search(path)
            if match is not None and match[1] == match[2][:2]:
                # Gone meanwhile, or a store that does not tell when a file was written.
                with contextlib.suppress(OSError, NotImplementedError):
                    if is_unwanted(path):
                        self._system.rm_file(path)

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"
