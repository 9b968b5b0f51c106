"""Stores that are opened with obstore: S3, Google Cloud Storage, Azure and web servers."""

from __future__ import annotations

import base64
import errno
import io
import os
import random
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.storage.credentials import store_options
from dawnchorus.storage.failures import (
    NO_BUCKET,
    NO_CREDENTIALS,
    REFUSED,
    failure_detail,
    lacks_credentials,
    unknown_failure,
)
from dawnchorus.storage.stores import (
    CONNECT_TIMEOUT_S,
    MAX_RETRIES,
    TIMEOUT_S,
    NoRangesError,
    ObjectInfo,
    changed,
    exists_already,
    not_found,
)
from dawnchorus.storage.urls import ObjectUrl
from dawnchorus.version import __version__

try:
    import obstore
    from obstore import exceptions
    from obstore.store import HTTPStore, from_url
except ImportError as error:
    raise MissingExtraError("obstore", extra="cloud", purpose="Reading from stores and web servers") from error

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta, PutMode


FIRST_PAUSE_S, MAX_PAUSE_S = 0.25, 15.0
"""First and longest pause before a request is repeated, in seconds."""

MAX_CONDITIONAL_BYTES = 64 << 20
"""Maximum size of an object that the store itself can protect from being overwritten (conditional write).

A larger object is sent in parts, for which stores have no condition: its key is checked just before.
"""

CLIENT_OPTIONS = frozenset({"allow_http"})
"""Options of the HTTP client, which obstore expects separately from those of the store."""

_PASSING = ("status code: 408", "status code: 429")

Result = TypeVar("Result")


class _BrokenReplyError(Exception):
    """A reply whose content ended too early."""


class ObjectStore:
    """Store of obstore; implements `stores.Store`, which says what the methods raise.

    Args:
        store: the store of obstore, such as an `obstore.store.S3Store`.
        is_http: True for a web server, which cannot list objects.
        is_one_object: True if the store's URL is that of its only object, such as a signed URL.
        retry_s: seconds for which requests are repeated whose reply breaks off or has status 408 or 429. obstore
            repeats other failures itself.
    """

    leaves_parts = False
    """False: an interrupted write leaves no temporary file."""

    def __init__(self, store: Any, *, is_http: bool = False, is_one_object: bool = False, retry_s: float = 0.0) -> None:
        self._store, self._is_http, self._is_one_object, self._retry_s = store, is_http, is_one_object, retry_s

    def head(self, key: str) -> ObjectInfo:
        """Return size and version of an object; raise FileNotFoundError if there is no object with this key.

        A web server gets a GET request for one byte, since a signed URL may not allow HEAD.
        """
        return self._repeat(lambda: self._head_once(self._path(key)))

    def _head_once(self, path: str) -> ObjectInfo:
        if self._is_http:
            try:
                return _info(obstore.get(self._store, path, options={"range": (0, 1)}).meta)
            except exceptions.BaseError:  # no ranges, or an empty file
                pass
        return _info(obstore.head(self._store, path))

    def read(self, key: str, start: int, stop: int, *, expected: ObjectInfo | None = None) -> memoryview:
        """Read the bytes from `start` to before `stop` of an object, or fewer at its end.

        `expected` is the version that the object must still have; None for any version.

        Raises:
            NoRangesError, ObjectChangedError: see `Store.read`.
        """
        options: GetOptions = {"range": (start, stop)}
        if expected is not None and (expected.etag or "").startswith('"'):  # a strong one, as a header has it
            options["if_match"] = expected.etag
        return self._repeat(lambda: self._read_once(self._path(key), options, expected))

    def _read_once(self, path: str, options: GetOptions, expected: ObjectInfo | None) -> memoryview:
        try:
            result = obstore.get(self._store, path, options=options)
        except exceptions.NotSupportedError:
            raise NoRangesError(errno.ENOTSUP, "the server gives no ranges") from None
        if expected is not None and not _info(result.meta).is_same(expected):
            raise changed()
        try:
            content = memoryview(result.bytes())
        except exceptions.BaseError as error:
            raise _BrokenReplyError(failure_detail(error)) from None
        start, stop = result.range
        if len(content) != stop - start:
            raise _BrokenReplyError(f"the reply ended after {len(content)} of {stop - start} bytes")
        return content

    def _repeat(self, work: Callable[[], Result]) -> Result:
        """Return the result of a request; repeat the request with growing pauses while its failure may be temporary."""
        until, pause_s = time.monotonic() + self._retry_s, FIRST_PAUSE_S
        while True:
            with _explained():
                try:
                    return work()
                except (exceptions.BaseError, _BrokenReplyError) as error:
                    if not _may_pass(error) or time.monotonic() + pause_s > until:
                        raise
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - so that clients do not go in step
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def copy_to(self, key: str, file: BinaryIO) -> None:
        """Copy the content of a whole object to an open file."""
        with _explained():
            for chunk in obstore.get(self._store, self._path(key)):
                file.write(chunk)

    def list(self, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, size and version) of all objects below a prefix, at any depth, in the store's order.

        The prefix is empty or ends with a slash; keys begin with it.

        Raises:
            OSError: the store failed, or is a web server, which cannot list objects.
        """
        if self._is_http:
            raise OSError(errno.ENOTSUP, "a web server lists no folders. Name its files, or give a list of them as -")
        with _explained():
            for chunk in obstore.list(self._store, prefix or None, chunk_size=1000):
                for meta in chunk:
                    yield meta["path"], _info(meta)

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the names, without paths, of the folders directly below a prefix.

        The prefix is empty or ends with a slash.
        """
        listing = self._repeat(lambda: obstore.list_with_delimiter(self._store, prefix or None))
        return [folder.rstrip("/").rpartition("/")[2] for folder in listing["common_prefixes"]]

    def keeps_existing(self, key: str) -> bool:
        """Return True if the store refuses to create an object whose key exists.

        This is tested by writing the unused key `key` twice; the object is then deleted where that is allowed.
        """
        path = self._path(key)
        try:
            # Two contents: a second reply of "it is there" would else be taken for that of a repeated request.
            for file in (io.BytesIO(b"1"), io.BytesIO(b"2")):
                self._repeat(partial(self._write_once, path, file, "create"))
        except FileExistsError:
            return True
        except NotImplementedError:
            return False
        finally:
            with suppress(OSError):  # who may write may not always delete
                self.delete(key)
        return False

    def write(self, key: str, file: BinaryIO, *, replaces: ObjectInfo | None) -> None:
        """Write a whole object: create it if `replaces` is None, else replace the version `replaces`.

        The store itself checks the condition in the same step, unless the store cannot or the object is larger than
        `MAX_CONDITIONAL_BYTES`: then the condition is checked before. An object of at most this size is replaced
        without a check if `replaces` has no ETag.

        Raises:
            FileExistsError: another program has written the object: it exists, or is no longer the version `replaces`.
        """
        mode: PutMode = "create"
        if replaces is not None:
            mode = "overwrite" if replaces.etag is None else {"e_tag": replaces.etag}
        if file.seek(0, os.SEEK_END) > MAX_CONDITIONAL_BYTES:
            self._check_replaced(key, replaces)
            mode = "overwrite"
        try:
            self._repeat(lambda: self._write_once(self._path(key), file, mode))
        except NotImplementedError:
            self._check_replaced(key, replaces)
            self._repeat(lambda: self._write_once(self._path(key), file, "overwrite"))

    def _write_once(self, path: str, file: BinaryIO, mode: PutMode) -> None:
        try:
            file.seek(0)
            obstore.put(self._store, path, file, mode=mode)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            if not self._has_content(path, file):
                raise exists_already() from None
        except exceptions.NotSupportedError:
            raise NotImplementedError("the store has no conditions") from None

    def _has_content(self, path: str, file: BinaryIO) -> bool:
        """Return True if an object's content equals that of `file`.

        Then an "exists already" reply is the answer to obstore's own repetition of a request whose reply was lost.
        """
        file.seek(0)
        try:
            return bytes(obstore.get(self._store, path).bytes()) == file.read()
        except FileNotFoundError:
            return False

    def _check_replaced(self, key: str, replaces: ObjectInfo | None) -> None:
        try:
            current = self.head(key)
        except FileNotFoundError:
            return
        if replaces is None or not current.is_same(replaces):
            raise exists_already()

    def delete(self, key: str) -> None:
        """Delete an object; do nothing if it does not exist."""
        with _explained():
            try:
                obstore.delete(self._store, self._path(key))
            except FileNotFoundError:
                return

    def move(self, key: str, new_key: str) -> None:
        """Rename an object to a key that should not exist: an object there is replaced."""
        with _explained():
            obstore.copy(self._store, self._path(key), self._path(new_key), overwrite=True)
            obstore.delete(self._store, self._path(key))

    def _path(self, key: str) -> str:
        return "" if self._is_one_object else key


def open_object_store(url: ObjectUrl, *, retry_s: float) -> ObjectStore:
    """Set up the store of a URL; no request is sent.

    Args:
        url: URL of the store's root, or of one object on a web server if it has a query (signed URL).
        retry_s: number of seconds for which failed requests are repeated.

    Raises:
        InputError: the store's configuration is wrong, or AWS_PROFILE names a profile that we cannot read.
    """
    client: dict[str, Any] = {
        "user_agent": f"dawnchorus/{__version__}",
        "timeout": timedelta(seconds=TIMEOUT_S),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
    }
    try:
        if url.is_http:
            return _open_http(url, client, retry_s)
        options = store_options(url.scheme, os.environ, Path.home())
        client |= dict.fromkeys(CLIENT_OPTIONS & options.keys(), True)
        config: Any = {name: value for name, value in options.items() if name not in CLIENT_OPTIONS}
        root = f"{url.scheme}://{url.host}"
        store = from_url(root, config=config, client_options=cast(Any, client), retry_config=_retry_config(retry_s))
    except (exceptions.BaseError, ValueError) as error:
        raise InputError(f"the store cannot be opened ({failure_detail(error)}).", subject=str(url.root)) from None
    return ObjectStore(store, retry_s=retry_s)


def _open_http(url: ObjectUrl, client: dict[str, Any], retry_s: float) -> ObjectStore:
    client = {**client, "allow_http": url.scheme == "http"}
    if url.login:
        token = base64.b64encode(urllib.parse.unquote(url.login).encode()).decode()
        client["default_headers"] = {"authorization": f"Basic {token}"}
    query = f"?{url.query}" if url.query else ""
    base = f"{url.scheme}://{url.host}/{urllib.parse.quote(url.key)}{query}"
    store = HTTPStore(base, client_options=cast(Any, client), retry_config=_retry_config(retry_s))
    return ObjectStore(store, is_http=True, is_one_object=bool(url.query), retry_s=retry_s)


def _retry_config(retry_s: float) -> Any:
    return {"max_retries": MAX_RETRIES if retry_s else 0, "retry_timeout": timedelta(seconds=retry_s)}


@contextmanager
def _explained() -> Iterator[None]:
    """Convert the errors of obstore to OSErrors; without a cause, since its messages have URLs with signatures."""
    try:
        yield
    except FileNotFoundError:
        raise not_found() from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
        raise PermissionError(errno.EACCES, REFUSED) from None
    except (exceptions.PreconditionError, exceptions.NotModifiedError):
        raise changed() from None
    except exceptions.AlreadyExistsError:
        raise exists_already() from None
    except (exceptions.BaseError, _BrokenReplyError, ValueError) as error:
        if lacks_credentials(error):
            raise PermissionError(errno.EACCES, NO_CREDENTIALS) from None
        if "list request" in str(error) and "status code: 404" in str(error):
            raise FileNotFoundError(errno.ENOENT, NO_BUCKET) from None
        if "invalid path" in str(error):
            raise OSError(
                errno.EINVAL,
                f"it has an object that cannot be listed ({failure_detail(error)}). Rename it, or name the folders and "
                f"objects beside it",
            ) from None
        raise OSError(errno.EIO, unknown_failure(error)) from None


def _may_pass(error: Exception) -> bool:
    """Return True for temporary failures that obstore does not repeat: a broken reply, and status 408 and 429."""
    return isinstance(error, _BrokenReplyError) or any(status in str(error) for status in _PASSING)


def _info(meta: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(meta["size"], meta["e_tag"], meta["last_modified"])
