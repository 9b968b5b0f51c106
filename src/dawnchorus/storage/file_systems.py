"""Stores that are opened with fsspec: SFTP and others that obstore does not support."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.storage.stores import ObjectInfo, changed, exists_already, not_found
from dawnchorus.storage.urls import ObjectUrl, hide_secrets

try:
    import fsspec
except ImportError as error:
    raise MissingExtraError("fsspec", extra="cloud", purpose="Reading from stores") from error

_TIMES = ("mtime", "modified", "LastModified", "created")
"""Names that file systems of fsspec use for the time of the last change."""


class FileSystemStore:
    """Store on a file system of fsspec; implements `stores.Store`, which says what the methods raise.

    Args:
        system: the file system, an `fsspec.AbstractFileSystem`.
        root: path of a folder in the file system; keys are paths below it, with slashes.
    """

    leaves_parts = True
    """True: an interrupted write leaves a temporary file `KEY.HEX.part` (HEX: 32 hexadecimal digits)."""

    def __init__(self, system: Any, root: str) -> None:
        self._system, self._root = system, root

    def head(self, key: str) -> ObjectInfo:
        """Return size and version of a file.

        Raises:
            FileNotFoundError: there is no file with this key.
        """
        with _explained():
            info = self._system.info(self._path(key))
        if info["type"] != "file":
            raise not_found()
        return _info(info)

    def read(self, key: str, start: int, stop: int, *, expected: ObjectInfo | None = None) -> memoryview:
        """Read the bytes from `start` to before `stop` of a file, or fewer at its end.

        `expected` is the version that the file must still have; None for any version.

        Raises:
            ObjectChangedError: the file is no longer the `expected` version.
        """
        if expected is not None and not self.head(key).is_same(expected):
            raise changed()
        with _explained():
            return memoryview(self._system.cat_file(self._path(key), start=start, end=stop))

    def copy_to(self, key: str, file: BinaryIO) -> None:
        """Copy the content of a whole file to an open file."""
        with _explained(), self._system.open(self._path(key), "rb") as content:
            shutil.copyfileobj(content, file)

    def list(self, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, size and version) of all files below a folder, at any depth; keys begin with the prefix.

        The prefix is the folder's key with a slash at its end, or empty for the root. Nothing is yielded if there is no
        such folder.
        """
        folder = self._path(prefix.rstrip("/"))
        with _explained():
            entries = self._system.find(folder, detail=True) if self._system.isdir(folder) else {}
        for path, info in entries.items():
            yield prefix + path.removeprefix(folder).lstrip("/"), _info(info)

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the names, without paths, of the folders directly in a folder.

        The prefix is the folder's key with a slash at its end, or empty for the root. The result is empty if there is
        no such folder.
        """
        folder = self._path(prefix.rstrip("/"))
        with _explained():
            entries = self._system.ls(folder, detail=True) if self._system.isdir(folder) else []
        return [info["name"].rstrip("/").rpartition("/")[2] for info in entries if info["type"] == "directory"]

    def keeps_existing(self, key: str) -> bool:  # noqa: ARG002 - as in `Store`
        """Return False: a write checks for an existing file before, and not in the same step."""
        return False

    def write(self, key: str, file: BinaryIO, *, replaces: ObjectInfo | None) -> None:
        """Write a whole file under a temporary name, and rename it; see `Store.write`.

        If `replaces` is given, the file is replaced without a check of its version. Not all file systems rename to an
        existing path, so the old file is renamed first, and renamed back if the new one cannot take its place.

        Raises:
            FileExistsError: `replaces` is None, and the file exists.
            FileNotFoundError: `replaces` is given, and the file does not exist.
        """
        path = self._path(key)
        part = f"{path}.{uuid.uuid4().hex}.part"
        with _explained():
            try:
                self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
                with self._system.open(part, "wb") as stream:
                    shutil.copyfileobj(file, stream)
                if replaces is None and self._system.exists(path):
                    raise exists_already()
                if replaces is None:
                    self._system.mv(part, path)
                else:
                    self._swap(part, path)
            except BaseException:
                with suppress(Exception):
                    self._system.rm_file(part)
                raise

    def _swap(self, part: str, path: str) -> None:
        """Rename a file to an existing path, whose file is deleted when that has succeeded."""
        old = f"{part.removesuffix('.part')}.old"
        self._system.mv(path, old)
        try:
            self._system.mv(part, path)
        except BaseException:
            self._system.mv(old, path)
            raise
        self._system.rm_file(old)

    def delete(self, key: str) -> None:
        """Delete a file; do nothing if it does not exist."""
        with _explained():
            try:
                self._system.rm_file(self._path(key))
            except FileNotFoundError:
                return

    def move(self, key: str, new_key: str) -> None:
        """Rename a file to a path that does not exist; this is not checked."""
        with _explained():
            self._system.mv(self._path(key), self._path(new_key))

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}" if key else self._root


def open_file_system(url: ObjectUrl) -> FileSystemStore:
    """Connect to the file system that a URL names.

    Raises:
        InputError: fsspec does not know the scheme, a package is missing, or the server cannot be reached.
    """
    try:
        # Without the cache, changes by other programs are visible at once.
        system, root = fsspec.core.url_to_fs(url.root.secret_text, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise InputError(f"{hide_secrets(str(error))}.", subject=str(url.root)) from None
    except Exception as error:  # noqa: BLE001 - those of a server are of any library's kinds
        raise InputError(f"it cannot be reached ({hide_secrets(str(error))}).", subject=str(url.root)) from None
    return FileSystemStore(system, root)


def open_folder(folder: Path) -> FileSystemStore:
    """Return a local folder, which need not exist yet, as a store."""
    return FileSystemStore(fsspec.filesystem("file"), folder.absolute().as_posix())


@contextmanager
def _explained() -> Iterator[None]:
    """Convert any error of fsspec or a library below it to an OSError with a readable message."""
    try:
        yield
    except FileNotFoundError:
        raise not_found() from None
    except PermissionError:
        raise PermissionError(errno.EACCES, "the server refused access. Check name, key and rights") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise OSError(errno.EIO, f"the server failed ({hide_secrets(str(error))})") from None
    except Exception as error:  # noqa: BLE001 - those of a server are of any library's kinds
        text = hide_secrets(str(error)) or type(error).__name__
        raise OSError(errno.EIO, f"the server failed ({text})") from None


def _info(info: dict[str, Any]) -> ObjectInfo:
    modified = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    if isinstance(modified, int | float):
        modified = datetime.fromtimestamp(modified, UTC)
    etag = info.get("ETag") or info.get("etag")
    return ObjectInfo(int(info["size"]), str(etag) if etag else None, modified)
