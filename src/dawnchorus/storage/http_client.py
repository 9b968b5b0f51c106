"""HTTP client with rate limiting, retries and resumable downloads."""

from __future__ import annotations

import functools
import gzip
import hashlib
import logging
import os
import random
import re
import ssl
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from dawnchorus.errors import DownloadError, LongWaitError
from dawnchorus.storage.file_kinds import find_other_kind, find_page
from dawnchorus.storage.files import cannot_write
from dawnchorus.storage.http_headers import (
    content_encoding,
    parse_content_range,
    parse_retry_after,
    reply_fault,
    reply_version,
)
from dawnchorus.storage.partial_files import ContentVersion, PartialFile
from dawnchorus.version import __version__

TIMEOUT_S = 60
MAX_TRIES = 6
MAX_WAIT_S = 120.0
RETRIED = frozenset((408, 429, 500, 502, 503, 504))
CHUNK_BYTES = 1 << 16
_BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@")


Result = TypeVar("Result")


class _StatusError(Exception):
    """Reply with an error status, whose body has not been read yet."""

    def __init__(self, reply: requests.Response) -> None:
        super().__init__(reply.status_code)
        self.reply = reply


class _SystemCertificates(HTTPAdapter):
    """Connections that trust this machine's certificates in addition to those of certifi or `REQUESTS_CA_BUNDLE`."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the connection pool."""
        super().init_poolmanager(*args, ssl_context=_system_certificates(), **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the connection pool of a proxy."""
        return super().proxy_manager_for(proxy, ssl_context=_system_certificates(), **options)


@functools.cache
def _system_certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


class HttpClient:
    """HTTP client with rate limiting and retries; thread-safe. Connections are reused.

    urllib3's own `Retry` covers a reply only up to its headers. The client retries broken bodies, the usual failure,
    too.

    Args:
        per_s: maximum number of requests per second.
        secret: key that is removed from all error messages. The `USER:PASSWORD@` of a URL is removed as well, and is
            sent as basic authentication.
        max_tries: number of tries until a request fails.
        sleep: function that waits for a number of seconds.
    """

    def __init__(
        self,
        *,
        per_s: float,
        secret: str | None = None,
        max_tries: int = MAX_TRIES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._every_s = 1 / per_s
        self._secret = secret
        self._max_tries = max_tries
        self._sleep = sleep
        if secret is not None:
            logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have whole URLs, so the secret too
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": f"dawnchorus/{__version__}", "Accept-Encoding": "identity"})
        self._session.mount("https://", _SystemCertificates())
        self._lock = threading.Lock()
        self._next_at = 0.0

    def read(self, url: str) -> bytes:
        """Return the content at `url`, decompressed.

        Raises:
            DownloadError: the URL is invalid, or the server refused, could not be reached in `max_tries` tries, or sent
                an invalid reply.
            LongWaitError: the server demands a wait of more than `MAX_WAIT_S` before the next try.
        """
        return self._retry(url, lambda: self._read(url))

    def download(
        self, url: str, path: Path, *, sha256: str | None = None, check: Callable[[Path], None] = lambda _path: None
    ) -> None:
        """Download the content at `url` to a file, atomically, and check its kind.

        An interrupted download resumes if the server still has the same content, by its ETag or Last-Modified time, and
        restarts otherwise.

        Args:
            url: URL of the content.
            path: the file to write, in an existing folder; a file there is replaced.
            sha256: expected checksum in lower-case hexadecimal. Without it, the first bytes have to be those of a file
                with the suffix of `path` (`file_kinds.find_other_kind`).
            check: function that is called with the path of the temporary file, before it is renamed to `path`; it
                raises DownloadError if the file is not as expected. The file is then deleted.

        Raises:
            DownloadError: the URL is invalid, or the server refused, could not be reached in `max_tries` tries, or sent
                something else than expected.
            LongWaitError: the server demands a wait of more than `MAX_WAIT_S` before the next try.
            OutputError: the file cannot be written.
        """
        part = PartialFile(path, url)
        name = path.name if sha256 is None else None
        try:
            self._retry(url, functools.partial(self._fill_with_kind, url, part, name))
            try:
                if sha256 is not None:
                    check_sha256(part.path, sha256, source=self._clean(url))
                elif (kind := find_other_kind(part.path, path.name)) is not None:
                    raise DownloadError(self._clean(f"{url}: expected {kind}, got {part.n_bytes} other bytes"), None)
                check(part.path)
            except DownloadError:
                part.remove()
                raise
            part.finish()
        except OSError as error:
            raise cannot_write(path, error) from error

    def _retry(self, url: str, work: Callable[[], Result]) -> Result:
        for number in range(1, self._max_tries + 1):
            self._wait_for_turn()
            wait_s = None
            try:
                return work()
            except _StatusError as error:
                with error.reply as reply:
                    status = f"{url}: {reply.status_code} {reply.reason}"
                    if reply.status_code not in RETRIED or number == self._max_tries:
                        answer = f"{status}. {_read_explanation(reply)}"
                        raise DownloadError(self._clean(answer.rstrip(". ")), reply.status_code) from None
                wait_s = parse_retry_after(reply.headers)
                if wait_s is not None and wait_s > MAX_WAIT_S:
                    raise LongWaitError(
                        self._clean(
                            f"{status}. The server asks to wait {wait_s:.0f} s (Retry-After), more than "
                            f"{MAX_WAIT_S:.0f} s. Run the same command again after that"
                        ),
                        reply.status_code,
                    ) from None
            except _BROKEN as error:
                if number == self._max_tries:
                    raise DownloadError(self._clean(f"{url}: {_reason(error)} (tried {number} times)"), None) from None
            except (requests.RequestException, ValueError) as error:  # such as a broken redirect
                raise DownloadError(self._clean(f"{url}: the reply cannot be understood ({error})"), None) from None
            if wait_s is None:
                wait_s = 2.0 ** (number - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - so that clients do not go in step
            self._sleep(wait_s)
        raise AssertionError

    def _wait_for_turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            wait_s = max(self._next_at - now, 0.0)
            self._next_at = max(self._next_at, now) + self._every_s
        if wait_s:
            self._sleep(wait_s)

    def _open(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        if not url.startswith(("https://", "http://")):
            raise DownloadError(self._clean(f"{url}: expected a URL that begins with https://"), None)
        try:
            reply = self._session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
        except requests.RequestException:
            raise
        except OSError as error:  # of the network or of certificates, not of a file that is written
            raise ConnectionError(str(error)) from error
        if not reply.ok:
            raise _StatusError(reply)
        return reply

    def _read(self, url: str) -> bytes:
        with self._open(url, {}) as reply:
            content = b"".join(_chunks(reply))
            if reply.raw.length_remaining:
                raise ConnectionError(f"the connection ended {reply.raw.length_remaining} bytes too early")
            return content

    def _fill_with_kind(self, url: str, part: PartialFile, name: str | None) -> None:
        """Download the content at `url` to `part`; raise if it is a text page although `name` is no text file."""
        self._fill(url, part)
        if name is not None and (page := find_page(part.path, name)) is not None:
            part.remove()
            raise ConnectionError(f"expected {name}, the server sent a text: {page!r}")

    def _fill(self, url: str, part: PartialFile) -> None:
        """Download the content at `url` to `part`, or what is missing of it."""
        known = part.read_version()
        n_before = part.n_bytes if known is not None and known.validator is not None else 0
        headers = {"Range": f"bytes={n_before}-", "If-Range": str(known.validator)} if known and n_before else {}
        try:
            reply = self._open(url, headers)
        except _StatusError as error:
            if error.reply.status_code not in (
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                HTTPStatus.PRECONDITION_FAILED,
            ):
                raise
            error.reply.close()
            part.remove()
            raise ConnectionError("the server has no more than we have") from None
        with reply:
            encoding = content_encoding(reply)
            if encoding not in ("identity", "gzip"):
                raise DownloadError(self._clean(f"{url}: sent as {encoding!r}, which was not requested"), None)
            fault = reply_fault(reply, known, n_before)
            if fault is not None:
                part.remove()
                raise ConnectionError(f"{fault}; beginning again")
            content_range = reply.headers.get("Content-Range")
            has_known_end = (
                bool(content_range or reply.raw.chunked) or encoding == "gzip" or reply.raw.length_remaining is not None
            )
            if content_range is None or not n_before:
                part.start(reply_version(reply))
            with part.path.open("ab") as file:
                for chunk in _chunks(reply):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        if n_missing := reply.raw.length_remaining:
            raise ConnectionError(f"the connection ended after {part.n_bytes} of {part.n_bytes + n_missing} bytes")
        if content_range is not None and part.n_bytes != parse_content_range(content_range)[1] + 1:
            part.remove()
            raise ConnectionError(f"got another number of bytes than {content_range!r}; beginning again")
        _check_length(part, known, has_known_end=has_known_end)

    def _clean(self, text: str) -> str:
        if self._secret:
            for form in (self._secret, urllib.parse.quote_plus(self._secret), urllib.parse.quote(self._secret)):
                text = text.replace(form, "***")
        return _LOGIN.sub("***@", text)


def _check_length(part: PartialFile, known: ContentVersion | None, *, has_known_end: bool) -> None:
    """Raise if bytes are missing; content of unknown length is complete if two downloads have the same length."""
    version, got = part.read_version(), part.n_bytes
    expected = None if version is None else version.n_bytes
    if not got:
        part.remove()
        raise ConnectionError("the reply was empty")
    if expected is not None and got != expected:
        if got > expected:
            part.remove()
        raise ConnectionError(f"the connection ended after {got} of {expected} bytes")
    if not has_known_end and (known is None or known.n_bytes_read != got):
        part.start(ContentVersion(None, None, n_bytes_read=got))
        raise ConnectionError("the server did not give the length; reading again to compare")


def check_sha256(path: Path, expected: str, *, source: str) -> None:
    """Compare the checksum of a downloaded file with the expected one; delete the file if they differ.

    Args:
        path: the downloaded file.
        expected: expected sha256 in lower-case hexadecimal.
        source: origin of the file, such as its URL, for the error's message.

    Raises:
        DownloadError: the checksum differs.
    """
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        n_bytes = path.stat().st_size
        path.unlink()
        raise DownloadError(
            f"{source}: expected a file of sha256 {expected}, got {n_bytes} bytes of sha256 {got}", None
        )


def _read_explanation(reply: requests.Response) -> str:
    """Return the beginning of a server's explanation, unless it is an HTML page."""
    if reply.headers.get("Content-Type", "").lower().startswith("text/html"):
        return ""
    try:
        return next(reply.iter_content(2000), b"").decode("utf-8", "replace")
    except _BROKEN:
        return ""


def _chunks(reply: requests.Response) -> Iterator[bytes]:
    """Yield the content, decompressed, in chunks as they arrive.

    A connection that ends too early ends the chunks; the caller compares the length.

    Raises:
        ConnectionError: the network failed, or the compressed content is damaged.
    """
    raw = reply.raw
    read = gzip.GzipFile(fileobj=raw).read if content_encoding(reply) == "gzip" else raw.read1
    try:
        while chunk := read(CHUNK_BYTES):
            yield chunk
    except (urllib3.exceptions.HTTPError, OSError, EOFError, zlib.error) as error:
        if not raw.length_remaining:
            raise ConnectionError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return the message of the error that first caused this one."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return str(error) or type(error).__name__
