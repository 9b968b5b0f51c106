"""Protocol of stores (cloud buckets, web servers, SFTP, ...), opened by obstore if it knows the scheme, else fsspec."""

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
"""Default number of seconds for which failed requests are repeated."""

TIMEOUT_S, CONNECT_TIMEOUT_S = 60, 10
MAX_RETRIES = 1000
"""Maximum number of retries, so high that the time limit decides."""

CHANGED = "it was replaced while it was read"
"""Start of the error message for an object that has changed since it was listed."""

_SETTINGS = ("AWS_", "AZURE_", "GOOGLE_", "DAWNCHORUS_STORE_", "HTTP_", "HTTPS_", "HOME")
"""Prefixes of the environment variables that the opening of a store reads."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Size and version of an object."""

    size: int
    """Size in bytes."""
    etag: str | None = None
    """ETag as the store writes it; a weak one begins with `W/`. None if the store has none."""
    modified: datetime | None = None
    """Modification time; None if the store has none."""

    @property
    def version(self) -> str | None:
        """The ETag without quotation marks, which only some replies of a store have around it; None without an ETag."""
        return None if self.etag is None else self.etag.replace('"', "")

    def is_same(self, other: ObjectInfo) -> bool:
        """Return False if `other` is known to be another version, else True.

        Sizes are compared first, then ETags if both have one, otherwise modification times if both have one.
        """
        if self.size != other.size:
            return False
        if self.version is not None and other.version is not None:
            return self.version == other.version
        return self.modified is None or other.modified is None or self.modified == other.modified


class ObjectChangedError(OSError):
    """The object's version differs from the one that was listed."""


class NoRangesError(OSError):
    """The server does not support range requests."""


class Store(Protocol):
    """Protocol of a store. Keys are paths in the store, without a slash at their start.

    Methods raise FileNotFoundError, PermissionError, FileExistsError, ObjectChangedError or another OSError, whose
    `strerror` is a sentence without secrets.
    """

    leaves_parts: bool
    """True if an interrupted write may leave a temporary file `KEY.HEX.part`, where HEX is 32 hexadecimal digits."""

    def head(self, key: str) -> ObjectInfo:
        """Return size and version of an object.

        Raises:
            FileNotFoundError: there is no such object.
        """
        ...

    def read(self, key: str, start: int, stop: int, *, expected: ObjectInfo | None = None) -> memoryview:
        """Read bytes `start` to `stop` of an object, or fewer at its end.

        Args:
            key: key of the object.
            start: offset of the first byte.
            stop: offset after the last byte.
            expected: size and version that the object must still have; None for any.

        Raises:
            NoRangesError: the server does not support ranges; only `copy_to` works.
            ObjectChangedError: the object is no longer the `expected` version.
        """
        ...

    def copy_to(self, key: str, file: BinaryIO) -> None:
        """Copy the content of a whole object to an open binary file, from its current position on."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, size and version) of all objects below a prefix at any depth; keys begin with the prefix.

        The prefix is a folder's key with a slash at its end, or empty for the whole store. The order is the store's.

        Raises:
            OSError: the store failed, or is a web server, which cannot list objects.
        """
        ...

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the names (last parts of the keys, without slashes) of the folders directly below a prefix.

        The prefix is a folder's key with a slash at its end, or empty for the whole store.
        """
        ...

    def keeps_existing(self, key: str) -> bool:
        """Return True if the store refuses to create an object whose key exists; else, simultaneous writes may be lost.

        This may be tested by creating an object with the unused key `key` twice; the object is deleted if the store
        allows it.
        """
        ...

    def write(self, key: str, file: BinaryIO, *, replaces: ObjectInfo | None) -> None:
        """Write a whole object: create it if `replaces` is None, else replace that version.

        Args:
            key: key of the object.
            file: open binary file with the content, at its start.
            replaces: size and version of the object to replace; file systems (fsspec) do not check the version.

        Raises:
            FileExistsError: another program has written the object: it exists though `replaces` is None, or is no
                longer the version `replaces`.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object; do nothing if it does not exist."""
        ...

    def move(self, key: str, new_key: str) -> None:
        """Rename an object to an unused key; that it is unused is not checked, and an object there may be replaced."""
        ...


def open_store(url: ObjectUrl) -> Store:
    """Return the store of a URL; URLs of the same store share it and its connections.

    A file system (fsspec) may be connected to; no request is sent to other stores.

    Raises:
        MissingExtraError: the package that opens such a store (obstore or fsspec) is not installed.
        InputError: no library knows the URL's scheme, the store's configuration is wrong, or a file system cannot be
            reached.
    """
    # A signed URL is valid for one object, so it is a store of its own.
    settings = tuple(item for item in os.environ.items() if item[0].startswith(_SETTINGS))
    return _open(url if url.query else url.root, (url.login, url.query, os.getpid(), settings))


@functools.lru_cache(64)
def _open(url: ObjectUrl, _key: tuple[object, ...]) -> Store:
    """Open a store; `_key` has what it depends on in addition to the URL, for the cache."""
    if url.scheme in OBJECT_STORE_SCHEMES:
        from dawnchorus.storage.object_store import open_object_store

        return open_object_store(url, retry_s=retry_s())
    from dawnchorus.storage.file_systems import open_file_system

    return open_file_system(url)


def retry_s() -> float:
    """Return the seconds for which failed requests are repeated: `$DAWNCHORUS_STORE_RETRY_S`, or else `RETRY_S` (180).

    A value that is not a number counts as not set, and a negative one as 0.
    """
    try:
        return max(float(os.environ[RETRY_VARIABLE]), 0.0)
    except (KeyError, ValueError):
        return RETRY_S


def not_found() -> FileNotFoundError:
    """Return the error for an object that does not exist."""
    return FileNotFoundError(errno.ENOENT, "there is no such object. Was it moved or deleted?")


def changed() -> ObjectChangedError:
    """Return the error for an object that was replaced while it was read."""
    return ObjectChangedError(errno.ESTALE, f"{CHANGED}. Run the same command again")


def raise_truncated() -> NoReturn:
    """Raise the error for content that is shorter than the object's size.

    Raises:
        OSError: always, with the code EIO.
    """
    raise OSError(errno.EIO, "the content ended before the size that the store gives for it")


def exists_already() -> FileExistsError:
    """Return the error for an object that another program has written in the meantime."""
    return FileExistsError(errno.EEXIST, "another program has written it in the meantime")


def describe(error: OSError) -> str:
    """Return the message of a store's error as a sentence."""
    text = f"{error.strerror or error}"
    return text if text.endswith(("?", ".")) else f"{text}."
