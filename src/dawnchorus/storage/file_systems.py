"""Stores through fsspec: SFTP and others that obstore does not know."""

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
"""Fields of a file's last change, by file system."""


class FileSystemStore:
    """A file system of fsspec; implements `stores.Store`.

    Args:
        system: the file system.
        root: path in it that keys are below.
    """

    leaves_parts = True

    def __init__(self, system: Any, root: str) -> None:
        self._system, self._root = system, root

    def head(self, key: str) -> ObjectInfo:
        """Return size and version of a file."""
        with _explained():
            info = self._system.info(self._path(key))
        if info["type"] != "file":
            raise not_found()
        return _info(info)

    def read(self, key: str, start: int, stop: int, *, expected: ObjectInfo | None = None) -> memoryview:
        """Read bytes of a file that is still the `expected` one; fewer at its end."""
        if expected is not None and not self.head(key).is_same(expected):
            raise changed()
        with _explained():
            return memoryview(self._system.cat_file(self._path(key), start=start, end=stop))

    def copy_to(self, key: str, file: BinaryIO) -> None:
        """Copy a whole file."""
        with _explained(), self._system.open(self._path(key), "rb") as content:
            shutil.copyfileobj(content, file)

    def list(self, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield the files whose paths begin with a prefix that is empty or ends with a slash."""
        folder = self._path(prefix.rstrip("/"))
        with _explained():
            entries = self._system.find(folder, detail=True) if self._system.isdir(folder) else {}
        for path, info in entries.items():
            yield prefix + path.removeprefix(folder).lstrip("/"), _info(info)

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders below a prefix that is empty or ends with a slash."""
        folder = self._path(prefix.rstrip("/"))
        with _explained():
            entries = self._system.ls(folder, detail=True) if self._system.isdir(folder) else []
        return [info["name"].rstrip("/").rpartition("/")[2] for info in entries if info["type"] == "directory"]

    def keeps_existing(self, key: str) -> bool:  # noqa: ARG002 - as in `Store`
        """Return False: what is there is looked at before it is written."""
        return False

    def write(self, key: str, file: BinaryIO, *, replaces: ObjectInfo | None) -> None:
        """Write a whole file, under another name first."""
        path = self._path(key)
        part = f"{path}.{uuid.uuid4().hex}.part"
        with _explained():
            try:
                self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
                with self._system.open(part, "wb") as stream:
                    shutil.copyfileobj(file, stream)
                if replaces is None and self._system.exists(path):
                    raise exists_already()
                if replaces is not None:
                    self._system.rm_file(path)
                self._system.mv(part, path)
            except BaseException:
                with suppress(Exception):
                    self._system.rm_file(part)
                raise

    def delete(self, key: str) -> None:
        """Delete a file; one that is not there is no error."""
        with _explained():
            try:
                self._system.rm_file(self._path(key))
            except FileNotFoundError:
                return

    def move(self, key: str, new_key: str) -> None:
        """Rename a file; there is none at the new path."""
        with _explained():
            self._system.mv(self._path(key), self._path(new_key))

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}" if key else self._root


def open_file_system(url: ObjectUrl) -> FileSystemStore:
    """Connect to the file system of a URL.

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
    """Return a folder of this machine as a store."""
    return FileSystemStore(fsspec.filesystem("file"), folder.absolute().as_posix())


@contextmanager
def _explained() -> Iterator[None]:
    """Convert the errors of fsspec's libraries to OSErrors."""
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
