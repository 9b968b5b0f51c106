"""Content-addressed file store, in a folder or in any file system of fsspec: equal files are stored once."""

from __future__ import annotations

import contextlib
import hashlib
import re
import uuid
from collections.abc import Callable, Container
from datetime import datetime, timedelta
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.storage.files import cannot_write

_STORED = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{64})(\.[0-9a-f]{32}\.part)?$")


class BlobStore:
    """Files by their sha256; each is complete or absent."""

    def __init__(self, root: str | Path, *, cache: Path, scratch: Path) -> None:
        """Open the store.

        Args:
            root: A folder or a URL of fsspec.
            cache: Folder of local copies, if `root` is not on this machine.
            scratch: Folder of incomplete files, on the same drive as `cache`.

        Raises:
            InputError: fsspec does not know the URL.
        """
        try:
            # Without the cache, changes by other servers are visible at once.
            self._system, self._root = fsspec.core.url_to_fs(str(root), use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise InputError(f"--files: {root}: {error}") from error
        self._is_local = isinstance(self._system, LocalFileSystem)
        self._cache, self._scratch = cache, scratch

    def put(self, path: Path) -> str:
        """Store a copy of the file and return its sha256.

        Raises:
            OutputError: no space, no permission.
        """
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        stored_path = self._path(sha256)
        if self._system.exists(stored_path):
            return sha256
        # Written under another name first, so that an interrupted write leaves no incomplete file.
        partial_path = f"{stored_path}.{uuid.uuid4().hex}.part"
        try:
            self._system.makedirs(stored_path.rsplit("/", 1)[0], exist_ok=True)
            self._system.put_file(str(path), partial_path)
            self._system.mv(partial_path, stored_path)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._system.rm_file(partial_path)
            raise cannot_write(Path(self._root), error) from error
        return sha256

    def ensure(self, sha256: str, path: Path) -> None:
        """Store the file again if it was deleted since `put`."""
        if self.size(sha256) is None:
            self.put(path)

    def size(self, sha256: str) -> int | None:
        """Return the size of a file in bytes, or None if it is absent."""
        try:
            return int(self._system.size(self._path(sha256)))
        except FileNotFoundError:
            return None

    def local(self, sha256: str) -> Path:
        """Return the path of a local copy, which must not be changed.

        Raises:
            NotFoundError: the file is absent.
        """
        if self.size(sha256) is None:
            raise NotFoundError(f"the file {sha256[:12]} is not in the store any more.")
        if self._is_local:
            return Path(self._path(sha256))
        copy = self._cache / sha256
        if not copy.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            partial_path = self._scratch / f"{sha256}.{uuid.uuid4().hex}.part"
            self._system.get_file(self._path(sha256), str(partial_path))
            partial_path.replace(copy)
        return copy

    def delete(self, sha256: str) -> None:
        """Delete a file and its local copy."""
        (self._cache / sha256).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(sha256))

    def collect_garbage(self, *, keep: Container[str]) -> None:
        """Delete all files but those in `keep`, and partial files; only valid while no other server writes."""
        self._delete_matching(lambda path: path.rsplit("/", 1)[1] not in keep)

    def delete_partial_files(self, *, older_than: timedelta) -> None:
        """Delete partial files of that age by the store's own clock; other servers may be writing."""
        try:
            before = self.now() - older_than
        except NotImplementedError:  # a store without modification times
            return
        self._delete_matching(lambda path: path.endswith(".part") and self._system.modified(path) < before)

    def now(self) -> datetime:
        """Return the time by the clock that dates the store's files, which may differ from this machine's.

        Raises:
            OSError: the store cannot be written.
            NotImplementedError: the store has no modification times.
        """
        probe = f"{self._root}/.clock.{uuid.uuid4().hex}"
        self._system.makedirs(self._root, exist_ok=True)
        self._system.pipe_file(probe, b"now")
        try:
            moment: datetime = self._system.modified(probe)
        finally:
            self._system.rm_file(probe)
        return moment

    def _delete_matching(self, condition: Callable[[str], bool]) -> None:
        for path in self._system.find(self._root):
            match = _STORED.search(path)
            if match is not None and match[1] == match[2][:2]:
                # Deleted by another server, or a store without modification times.
                with contextlib.suppress(OSError, NotImplementedError):
                    if condition(path):
                        self._system.rm_file(path)

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"
