"""Paths and URLs as one type: a URL is a subclass of `Path`, so that functions for files work on stores as well."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from dawnchorus.errors import InputError, StoreError
from dawnchorus.storage.range_reader import RemoteObject
from dawnchorus.storage.stores import ObjectInfo, Store, describe, open_store
from dawnchorus.storage.urls import ObjectUrl, is_url, parse_url

if TYPE_CHECKING:
    _LocalPath = Path
else:
    _LocalPath = type(Path())

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RemotePath(_LocalPath):
    """The URL of an object, a folder or a wildcard pattern in a store (bucket, web server, SFTP, ...), as a path.

    Its methods read, list, write and delete in the store; `str()` is the URL without secrets. Methods of `Path` that
    are not overridden here look for a local file, and find none. Methods that need the store also raise the errors of
    `stores.open_store`.

    Args:
        url: the URL.
        info: size and version of the object, if they are known from a listing or a request; else None.
    """

    url: ObjectUrl

    def __new__(cls, url: ObjectUrl, info: ObjectInfo | None = None) -> RemotePath:  # noqa: ARG004 - as `__init__`
        """Create the path; the parts of the URL provide `name`, `suffix` and `parts`."""
        return super().__new__(cls, *_segments(url))

    def __init__(self, url: ObjectUrl, info: ObjectInfo | None = None) -> None:
        if sys.version_info >= (3, 12):
            super().__init__(*_segments(url))
        self.url = url
        self._info = info
        self._content: RemoteObject | None = None
        self.listing: list[Any] | None = None
        """Objects that `storage.listing` has found for this URL; None before."""

    def __str__(self) -> str:
        return str(self.url)

    def __fspath__(self) -> str:
        return str(self.url)

    def __repr__(self) -> str:
        return f"RemotePath({str(self.url)!r})"

    def __bytes__(self) -> bytes:
        return os.fsencode(str(self.url))

    def __hash__(self) -> int:
        return hash(self.url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.url == other.url

    def __lt__(self, other: PurePath) -> bool:
        return str(self) < str(other)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemotePath, (self.url, self._info)

    def as_posix(self) -> str:
        """Return the URL as text, without secrets."""
        return str(self.url)

    # ------------------------------------------------------------------ other paths

    def __truediv__(self, key: str | os.PathLike[str]) -> RemotePath:
        return self.joinpath(key)

    def joinpath(self, *others: str | os.PathLike[str]) -> RemotePath:
        """Return the path of an object below this one."""
        parts = [self.url.key.rstrip("/"), *(PurePath(other).as_posix() for other in others)]
        return RemotePath(self.url.at("/".join(part for part in parts if part)))

    @property
    def parent(self) -> RemotePath:
        """Path of the folder that contains the object; the store's root for objects at the top, and for the root."""
        return RemotePath(self.url.at(self.url.key.rstrip("/").rpartition("/")[0]))

    @property
    def parents(self) -> Sequence[RemotePath]:
        """Paths of all folders that contain the object, the innermost first, the store's root last; [] for the root."""
        folders = [self.parent]
        while folders[-1].url.key:
            folders.append(folders[-1].parent)
        return folders if self.url.key.strip("/") else []

    def with_name(self, name: str) -> RemotePath:
        """Return the path of an object with another name in the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> RemotePath:
        """Return the path with another suffix."""
        return self.with_name(f"{self.stem}{suffix}")

    def relative_to(self, other: str | os.PathLike[str], *_: Any, **_options: Any) -> PurePosixPath:  # type: ignore[override]
        """Return the path from a folder of the same store to this object.

        Raises:
            ValueError: the object is neither the folder `other` nor below it.
        """
        root = as_path(other)
        n = len(root.parts)
        if not isinstance(root, RemotePath) or self.parts[:n] != root.parts:
            raise ValueError(f"{self} is not below {root}")
        return PurePosixPath(*self.parts[n:])

    def is_relative_to(self, other: str | os.PathLike[str], *_: Any) -> bool:
        """Return True if `other` is a folder of the same store that contains this object, or is this object."""
        root = as_path(other)
        return isinstance(root, RemotePath) and self.parts[: len(root.parts)] == root.parts

    def is_absolute(self) -> bool:
        """Return True: a URL is absolute."""
        return True

    def absolute(self) -> RemotePath:
        """Return the path itself."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:  # noqa: ARG002, FBT001, FBT002 - as in `Path`
        """Return the path itself."""
        return self

    # ------------------------------------------------------------------ what is there

    @property
    def content(self) -> RemoteObject:
        """Reader of the object with cached ranges, shared by all open files of this path; set up on first use."""
        if self._content is None:
            self._content = RemoteObject(self.url, self._info)
        return self._content

    @property
    def store(self) -> Store:
        """Store that the object is in; see `stores.open_store` for the errors."""
        return open_store(self.url)

    def head(self) -> ObjectInfo:
        """Return size and version of the object.

        They are from the listing that returned this path, or else from one request, whose result later calls return.

        Raises:
            OSError: there is no such object, or the store failed.
        """
        if self._info is None:
            self._info = self.store.head(self.url.key)
        return self._info

    def with_info(self, info: ObjectInfo) -> RemotePath:
        """Return a copy of the path with the size and version that a listing returned for the object."""
        return RemotePath(self.url, info)

    @property
    def is_listed(self) -> bool:
        """True if size and version are known, by a listing or a request, so that the object exists."""
        return self._info is not None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Convert OSErrors of the store to StoreErrors that name the URL."""
        try:
            yield
        except OSError as error:
            raise StoreError(describe(error), subject=self) from None

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002 - as in `Path`
        """Return size and modification time of the object; the time is 0 (1970) if the store has none.

        Raises:
            OSError: there is no such object, or the store failed.
        """
        info = self.head()
        mtime_ns = 0 if info.modified is None else round((info.modified - _EPOCH).total_seconds() * 1e9)
        times = (mtime_ns // 10**9,) * 3
        return os.stat_result((stat.S_IFREG | 0o444, 0, 0, 1, 0, 0, info.size, *times), {"st_mtime_ns": mtime_ns})

    def exists(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 - as in `Path`
        """Return True if the object exists now; a request is always sent.

        Raises:
            StoreError: the store failed.
        """
        with self._explained():
            try:
                self.store.head(self.url.key)
            except FileNotFoundError:
                return False
        return True

    def is_file(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 - as in `Path`
        """Return True if the object exists; if size and version are known, no request is sent.

        Raises:
            StoreError: the store failed.
        """
        return self.is_listed or self.exists()

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 - as in `Path`
        """Return True if there are objects below this path, or the URL ends with a slash.

        The root of a store counts as a folder. A URL of a web server never does.

        Raises:
            StoreError: the store failed.
        """
        if self.url.is_http:
            return False
        key = self.url.key
        if not key or key.endswith("/"):
            return True
        with self._explained():
            return next(self.store.list(f"{key}/"), None) is not None

    def is_symlink(self) -> bool:
        """Return False: stores have no links."""
        return False

    # ------------------------------------------------------------------ reading and writing

    def open(self, mode: str = "r", *_: Any, **_options: Any) -> Any:
        """Open the object as a seekable binary file. The content is read by ranges, some of them in advance.

        Arguments other than `mode` are ignored.

        Raises:
            ValueError: the mode is not "rb", the only one supported.
            OSError: there is no such object, or the store failed.
        """
        if mode != "rb":
            raise ValueError(f"{self}: expected the mode 'rb', got {mode!r}; atomic_file writes")
        return self.content.open()

    def read_bytes(self) -> bytes:
        """Read the whole object.

        Raises:
            OSError: there is no such object, or the store failed.
        """
        try:
            with self.open("rb") as file:
                return cast(bytes, file.read())
        finally:
            self.content.close()

    @contextmanager
    def replacing(self) -> Iterator[BinaryIO]:
        """Open a temporary binary file for writing; at the end of the block its content is sent as the object.

        If the block raises, nothing is sent. The object is not replaced if another program has written it since the
        block began; see `stores.Store.write` for stores that do not check this.

        Raises:
            FileExistsError: another program has written the object.
            OSError: the store failed, or there is no space for the temporary file.
        """
        try:
            before = self.store.head(self.url.key)
        except FileNotFoundError:
            before = None
        with tempfile.TemporaryFile(prefix="dawnchorus-") as file:
            yield cast(BinaryIO, file)
            file.seek(0)
            self.store.write(self.url.key, cast(BinaryIO, file), replaces=before)
        self._info = self._content = None

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - as in `Path`
        """Delete the object.

        Raises:
            FileNotFoundError: there is no such object, and `missing_ok` is False.
            StoreError: the store failed.
        """
        if not missing_ok and not self.exists():
            raise FileNotFoundError(errno.ENOENT, "there is no such object")
        with self._explained():
            self.store.delete(self.url.key)

    def rename(self, target: str | os.PathLike[str]) -> RemotePath:
        """Rename the object, and return its new path.

        `target` has to be a URL in the same store. Whether an object exists there is not checked: it may be replaced.

        Raises:
            OSError: the store failed.
        """
        renamed = as_path(target)
        assert isinstance(renamed, RemotePath)  # noqa: S101 - no caller renames into another place
        self.store.move(self.url.key, renamed.url.key)
        return renamed

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        """Do nothing, whatever the arguments: stores have no folders."""


def _segments(url: ObjectUrl) -> tuple[str, ...]:
    return (f"{url.scheme}:", url.host, *(part for part in url.key.split("/") if part))


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a `RemotePath` for a URL, and a local `Path` for anything else, `file://...` included.

    Raises:
        InputError: the text begins like a URL but is not a valid one.
    """
    if isinstance(path, RemotePath):
        return path
    text = os.fspath(path)
    if text[:7].lower() == "file://":
        return Path(unquote(urlsplit(text).path))
    if not is_url(text):
        return Path(path)
    try:
        return RemotePath(parse_url(text))
    except ValueError as error:
        raise InputError(f"{error}.") from None


def absolute_path(path: Path, folder: str | None = None) -> Path:
    """Return the absolute path of a path relative to `folder` (None: the working directory); a URL as it is."""
    return path if isinstance(path, RemotePath) else Path(os.path.abspath(os.path.join(folder or "", path)))


def full_name(path: Path, folder: str | None = None) -> str:
    """Return the result of `absolute_path` as text: an absolute path, or a URL without secrets."""
    return os.fspath(absolute_path(path, folder))


def is_remote(path: Path) -> bool:
    """Return True if the path is a URL (`RemotePath`)."""
    return isinstance(path, RemotePath)


def can_list(path: Path | bytes) -> bool:
    """Return True if the path is a folder on this machine that may be listed."""
    return not isinstance(path, RemotePath) and os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK)


def folder_prefix(path: bytes) -> bytes:
    """Return what the paths of the files below a folder begin with."""
    separator = os.fsencode(os.sep)
    return path.rstrip(separator) + separator


def content_version(path: Path) -> str | None:
    """Return an object's ETag, requested now; None for local files and objects without an ETag.

    Raises:
        OSError: there is no such object, or the store failed.
    """
    return path.store.head(path.url.key).version if isinstance(path, RemotePath) else None


def read_failure(path: Path) -> str | None:
    """Return a sentence on the first failed read of an object through this path; None without any or if it is local."""
    failure = path.content.failure if isinstance(path, RemotePath) else None
    return None if failure is None else describe(failure)


def path_to_json(path: Path) -> dict[str, Any]:
    """Return a path as a JSON-compatible dict, for `path_from_json` in another process.

    For a URL, the keys are `url` (the list of the fields of `ObjectUrl`, with secrets) and, if size and version are
    known, `info` (size, ETag and ISO 8601 time); for a local path `path` (its bytes in hexadecimal).
    """
    if not isinstance(path, RemotePath):
        return {"path": os.fsencode(path).hex()}
    url, info = path.url, path._info  # noqa: SLF001 - it is of this module
    fields: dict[str, Any] = {"url": [url.scheme, url.host, url.key, url.label, url.login, url.query]}
    if info is not None:
        fields["info"] = [info.size, info.etag, info.modified and info.modified.isoformat()]
    return fields


def path_from_json(fields: dict[str, Any]) -> Path:
    """Return the path that `path_to_json` converted to `fields`."""
    if "path" in fields:
        return Path(os.fsdecode(bytes.fromhex(fields["path"])))
    info = None
    if "info" in fields:
        size, etag, modified = fields["info"]
        info = ObjectInfo(size, etag, modified and datetime.fromisoformat(modified))
    return RemotePath(ObjectUrl(*fields["url"]), info)


@contextmanager
def closing_content(path: Path) -> Iterator[None]:
    """Release the cached content of an object when the block ends; do nothing for local files."""
    try:
        yield
    finally:
        if isinstance(path, RemotePath):
            path.content.close()


def listed_version(path: Path) -> tuple[int, str] | None:
    """Return size in bytes and ETag of an object; None for local files and objects without an ETag.

    They are from the listing that returned `path`, or else from one request, whose result later calls return again.

    Raises:
        OSError: there is no such object, or the store failed.
    """
    info = path.head() if isinstance(path, RemotePath) else None
    return None if info is None or info.version is None else (info.size, info.version)


def is_missing(path: Path) -> bool:
    """Return True if there is no file or object at `path`; False if the store failed, so that it is unknown."""
    if not isinstance(path, RemotePath):
        return not os.path.exists(path)  # not `Path.exists`, which raises for names that are too long
    try:
        return not path.exists()
    except StoreError:
        return False
