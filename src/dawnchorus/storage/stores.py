"""Stores of objects behind one protocol: by obstore where it can, else by fsspec."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, NoReturn, Protocol

from dawnchorus.storage.urls import OBJECT_STORE_SCHEMES, ObjectUrl

RETRY_VARIABLE = "DAWNCHORUS_STORE_RETRY_S"
RETRY_S = 180.0
"""Default time for which requests that fail are repeated."""

TIMEOUT_S, CONNECT_TIMEOUT_S = 60, 10
MAX_RETRIES = 1000
"""The time decides, not the number."""

CHANGED = "it was replaced while it was read"
"""Start of the sentence for an object that is another one than that which was listed."""

_SETTINGS = ("AWS_", "AZURE_", "GOOGLE_", "DAWNCHORUS_STORE_", "HTTP_", "HTTPS_", "HOME")
"""Starts of the names of variables that the opening of a store reads."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Size and version of an object."""

    size: int
    etag: str | None = None
    """Version by the store, as it writes it; a weak one begins with `W/`."""
    modified: datetime | None = None

    @property
    def version(self) -> str | None:
        """Return the version without the marks that only some replies of a store have around it."""
        return None if self.etag is None else self.etag.replace('"', "")

    def is_same(self, other: ObjectInfo) -> bool:
        """Return False if the other is known to be another version."""
        if self.size != other.size:
            return False
        if self.version is not None and other.version is not None:
            return self.version == other.version
        return self.modified is None or other.modified is None or self.modified == other.modified


class ObjectChangedError(OSError):
    """The object is another one than the one that was listed."""


class NoRangesError(OSError):
    """The server gives whole objects only."""


class Store(Protocol):
    """Protocol of a store; keys have no slash at their start.

    Methods raise FileNotFoundError, PermissionError, FileExistsError, ObjectChangedError or another OSError, whose
    `strerror` is a sentence without secrets.
    """

    leaves_parts: bool
    """True if a write that is cut off leaves a file `KEY.32 digits.part`."""

    def head(self, key: str) -> ObjectInfo:
        """Return size and version of an object."""
        ...

    def read(self, key: str, start: int, stop: int, *, expected: ObjectInfo | None = None) -> memoryview:
        """Read bytes of an object that is still the `expected` one; fewer at its end.

        Raises:
            NoRangesError: the server gives no ranges; `copy_to` is the only way.
        """
        ...

    def copy_to(self, key: str, file: BinaryIO) -> None:
        """Copy a whole object to a file."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield the objects whose keys begin with a prefix that is empty or ends with a slash."""
        ...

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders below a prefix that is empty or ends with a slash."""
        ...

    def keeps_existing(self, key: str) -> bool:
        """Return True if a new object is never written over one that is there, by writing `key` twice.

        It is deleted where that is allowed. Where False, two programs that write at once may lose what one wrote.
        """
        ...

    def write(self, key: str, file: BinaryIO, *, replaces: ObjectInfo | None) -> None:
        """Write a whole object: a new one, or instead of the version `replaces`."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        ...

    def move(self, key: str, new_key: str) -> None:
        """Rename an object; there is none at the new key."""
        ...


def open_store(url: ObjectUrl) -> Store:
    """Return the store of a URL; one for all its objects, so that connections are kept.

    Raises:
        MissingExtraError: the package that reads it is not installed.
        InputError: there is no such kind of store, or its configuration is wrong.
    """
    # A signed URL is valid for one object, so it is a store of its own.
    settings = tuple(item for item in os.environ.items() if item[0].startswith(_SETTINGS))
    return _open(url if url.query else url.root, (url.login, url.query, os.getpid(), settings))


@functools.lru_cache(64)
def _open(url: ObjectUrl, _key: tuple[object, ...]) -> Store:
    """Open a store; the second argument is what it depends on besides the URL."""
    if url.scheme in OBJECT_STORE_SCHEMES:
        from dawnchorus.storage.object_store import open_object_store

        return open_object_store(url, retry_s=retry_s())
    from dawnchorus.storage.file_systems import open_file_system

    return open_file_system(url)


def retry_s() -> float:
    """Return for how many seconds requests that fail are repeated: $DAWNCHORUS_STORE_RETRY_S, or else `RETRY_S`."""
    try:
        return max(float(os.environ[RETRY_VARIABLE]), 0.0)
    except (KeyError, ValueError):
        return RETRY_S


def not_found() -> FileNotFoundError:
    """Return the error for an object that is not there."""
    return FileNotFoundError(errno.ENOENT, "there is no such object. Was it moved or deleted?")


def changed() -> ObjectChangedError:
    """Return the error for an object that was replaced."""
    return ObjectChangedError(errno.ESTALE, f"{CHANGED}. Run the same command again")


def ends_early() -> NoReturn:
    """Raise the error for content that ends before the size of its object."""
    raise OSError(errno.EIO, "the content ended before the size that the store gives for it")


def exists_already() -> FileExistsError:
    """Return the error for an object that another program has written."""
    return FileExistsError(errno.EEXIST, "another program has written it in the meantime")


def describe(error: OSError) -> str:
    """Return the sentence of a store's error."""
    text = f"{error.strerror or error}"
    return text if text.endswith(("?", ".")) else f"{text}."
