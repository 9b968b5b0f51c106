"""Asking web servers politely: a rate, retries, and downloads that go on where they stopped."""

from __future__ import annotations

import base64
import email.utils
import functools
import gzip
import hashlib
import http.client
import os
import random
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any

from dawnchorus.errors import DownloadError, LongWaitError
from dawnchorus.storage.file_kinds import find_other_kind, find_page
from dawnchorus.storage.files import cannot_write
from dawnchorus.storage.partial_files import ContentVersion, PartialFile
from dawnchorus.version import __version__

TIMEOUT_S = 60
MAX_TRIES = 6
MAX_WAIT_S = 120.0
RETRIED = frozenset((408, 429, 500, 502, 503, 504))
CHUNK_BYTES = 1 << 16
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
_CONTENT_RANGE = re.compile(r"bytes[ =]+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_MIN_AGE_S = 60
"""A younger file may change again within the same second."""

_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@")


@dataclass(frozen=True)
class Page:
    """The content at an address; `url` is the address after redirects."""

    url: str
    content_type: str
    content: bytes


class HttpClient:
    """Requests to one server, at most `per_s` of them in a second, from any thread.

    `secret` is taken out of everything that is said about a failure, and so is `USER:PASSWORD@` of an address, which
    is sent as basic authentication.
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
        self._lock = threading.Lock()
        self._next_at = 0.0

    def read(self, url: str) -> bytes:
        """Return the content at `url`.

        Raises:
            DownloadError: the server refused, or could not be reached after several tries.
            LongWaitError: it asks to wait for more than `MAX_WAIT_S`.
        """
        return self.read_page(url).content

    def read_page(self, url: str, *, accept: str = "*/*") -> Page:
        """Read the content at `url` in one of the media types in `accept`.

        Raises:
            DownloadError: as `read`.
        """
        page: Page = self._retried(url, lambda: self._read(url, accept))
        return page

    def download(
        self, url: str, path: Path, *, sha256: str | None = None, check: Callable[[Path], None] = lambda _path: None
    ) -> None:
        """Download the content at `url` as a file, which has its name only when it is whole and of its kind.

        A broken download goes on if the server still has the same content, by its ETag or time of last modification,
        and begins again otherwise.

        Args:
            url: The address.
            path: The file to write.
            sha256: The only content that is right; without it, the first bytes have to fit the name.
            check: Raises DownloadError for a file that is not as expected, before it has its name.

        Raises:
            DownloadError: as `read`; or the content is not as expected.
            OutputError: it cannot be written.
        """
        part = PartialFile(path, url)

        def fill() -> None:
            self._fill(url, part)
            if sha256 is None and (page := find_page(part.path, path.name)) is not None:
                part.remove()
                raise ConnectionError(f"expected {path.name}, the server sent a text: {page!r}")

        try:
            self._retried(url, fill)
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

    def _retried(self, url: str, work: Callable[[], Any]) -> Any:
        for number in range(1, self._max_tries + 1):
            self._wait_for_turn()
            try:
                return work()
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in RETRIED or number == self._max_tries:
                        answer = f"{url}: {error.code} {error.reason}. {_read_explanation(error)}"
                        raise DownloadError(self._clean(answer.rstrip(". ")), error.code) from None
                wait_s = asked_wait_s(error.headers)
                if wait_s is not None and wait_s > MAX_WAIT_S:
                    raise LongWaitError(
                        self._clean(
                            f"{url}: {error.code} {error.reason}. The server asks to wait {wait_s:.0f} s "
                            f"(Retry-After), more than {MAX_WAIT_S:.0f} s. Run the same command again after that"
                        ),
                        error.code,
                    ) from None
            except _BROKEN as error:
                if number == self._max_tries:
                    raise DownloadError(self._clean(f"{url}: {_reason(error)} (tried {number} times)"), None) from None
                wait_s = None
            except ValueError as error:  # an address or a header that is none, such as a broken redirect
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

    def _open(self, url: str, headers: dict[str, str]) -> Any:
        if not url.startswith(("https://", "http://")):
            raise DownloadError(self._clean(f"{url}: expected an address that begins with https://"), None)
        about = {"User-Agent": f"dawnchorus/{__version__}", **headers}
        parts = urllib.parse.urlsplit(url)
        login, _, server = parts.netloc.rpartition("@")
        request = urllib.request.Request(parts._replace(netloc=server).geturl(), headers=about)  # noqa: S310
        if login:
            request.add_unredirected_header("Authorization", _basic_authentication(login))
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=_trusted_roots())  # noqa: S310
        except _BROKEN:
            raise
        except OSError as error:  # of the network, not of a file
            raise ConnectionError(str(error)) from error

    def _read(self, url: str, accept: str) -> Page:
        with self._open(url, {"Accept": accept}) as reply:
            content = b"".join(_chunks(reply))
            if reply.length:
                raise ConnectionError(f"the connection ended {reply.length} bytes too early")
            return Page(reply.url, reply.headers.get_content_type(), content)

    def _fill(self, url: str, part: PartialFile) -> None:
        """Bring the whole content at `url` into `part`."""
        known = part.read_version()
        n_before = part.n_bytes if known is not None and known.validator is not None else 0
        headers = {"Range": f"bytes={n_before}-", "If-Range": known.validator} if known and n_before else {}
        try:
            reply = self._open(url, {name: value for name, value in headers.items() if value})
        except urllib.error.HTTPError as error:
            if error.code not in (http.client.REQUESTED_RANGE_NOT_SATISFIABLE, http.client.PRECONDITION_FAILED):
                raise
            error.close()
            part.remove()
            raise ConnectionError("the server has no more than we have") from None
        with reply:
            encoding = _encoding(reply)
            if encoding not in ("identity", "gzip"):
                raise DownloadError(self._clean(f"{url}: sent as {encoding!r}, which was not asked for"), None)
            fault = _reply_fault(reply, known, n_before)
            if fault is not None:
                part.remove()
                raise ConnectionError(f"{fault}; beginning again")
            content_range = reply.headers.get("Content-Range")
            is_told = content_range is not None or reply.length is not None or reply.chunked or encoding == "gzip"
            if content_range is None or not n_before:
                part.start(_origin(reply))
            with part.path.open("ab") as file:
                for chunk in _chunks(reply):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        if reply.length:
            raise ConnectionError(f"the connection ended after {part.n_bytes} of {part.n_bytes + reply.length} bytes")
        if content_range is not None and part.n_bytes != _parse_content_range(content_range)[1] + 1:
            part.remove()
            raise ConnectionError(f"got another number of bytes than {content_range!r}; beginning again")
        _check_length(part, known, is_told=is_told)

    def _clean(self, text: str) -> str:
        if self._secret:
            for form in (self._secret, urllib.parse.quote_plus(self._secret), urllib.parse.quote(self._secret)):
                text = text.replace(form, "***")
        return _LOGIN.sub("***@", text)


def _check_length(part: PartialFile, known: ContentVersion | None, *, is_told: bool) -> None:
    """Refuse bytes that are not all; content of unknown length is whole when it ends twice at the same place."""
    version, got = part.read_version(), part.n_bytes
    expected = None if version is None else version.n_bytes
    if not got:
        part.remove()
        raise ConnectionError("the reply was empty")
    if expected is not None and got != expected:
        if got > expected:
            part.remove()
        raise ConnectionError(f"the connection ended after {got} of {expected} bytes")
    if not is_told and (known is None or known.n_bytes_read != got):
        part.start(ContentVersion(None, None, n_bytes_read=got))
        raise ConnectionError("the server did not tell the length; reading again to compare")


def check_sha256(path: Path, expected: str, *, source: str) -> None:
    """Compare a downloaded file with its pinned checksum, and remove it if it is another file.

    Raises:
        DownloadError: it is another file.
    """
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        n_bytes = path.stat().st_size
        path.unlink()
        raise DownloadError(
            f"{source}: expected a file of sha256 {expected}, got {n_bytes} bytes of sha256 {got}", None
        )


@functools.cache
def _trusted_roots() -> ssl.SSLContext:
    """Trust the certificates of this machine, or of SSL_CERT_FILE, and those of REQUESTS_CA_BUNDLE."""
    context = ssl.create_default_context()
    bundle = Path(os.environ.get("REQUESTS_CA_BUNDLE", ""))
    if bundle.is_file():
        context.load_verify_locations(cafile=bundle)
    return context


def _basic_authentication(login: str) -> str:
    return "Basic " + base64.b64encode(urllib.parse.unquote(login).encode()).decode()


def _read_explanation(error: urllib.error.HTTPError) -> str:
    """Return the beginning of a server's explanation, unless it is an HTML page."""
    if error.headers.get_content_type() == "text/html":
        return ""
    return error.read(2000).decode("utf-8", "replace")


def asked_wait_s(headers: Message[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait, as a number or a date; None if it has no moment to come.

    A date is compared with the server's own, where it sends one.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until = _http_date(text)
        if until is None:
            return None
        seconds = (until - (_http_date(headers.get("Date", "")) or datetime.now(UTC))).total_seconds()
        return seconds if seconds > 0 else None
    return seconds if seconds >= 0 else None


def _http_date(text: str) -> datetime | None:
    """Return the moment of a date in a header, which is UTC where it does not say so; None for what is no date."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _validator(headers: Message[str, str]) -> str | None:
    """Return a strong ETag, or a time of last modification that is old enough (RFC 9110, 8.8.2.2)."""
    etag = headers.get("ETag", "").strip()
    if etag.startswith('"'):
        return etag
    modified, sent = _http_date(headers.get("Last-Modified", "")), _http_date(headers.get("Date", ""))
    is_old = modified is not None and sent is not None and (sent - modified).total_seconds() >= _MIN_AGE_S
    return headers["Last-Modified"].strip() if is_old else None


def _parse_content_range(content_range: str) -> tuple[int, int, int | None]:
    """Return first and last byte of a part, and the length of the whole if it is told; -1 for what is no range."""
    match = _CONTENT_RANGE.fullmatch(content_range.strip())
    if match is None:
        return -1, -1, None
    first, last, whole = match.groups()
    return int(first), int(last), None if whole == "*" else int(whole)


def _range_fault(content_range: str, known: ContentVersion | None, n_before: int) -> str | None:
    """Return the reason why a part cannot follow the `n_before` bytes that are there; None if it can."""
    first, last, whole = _parse_content_range(content_range)
    expected = known.n_bytes if known is not None and n_before else None
    if first != n_before or last < first:
        return f"asked for the bytes from {n_before}, got {content_range!r}"
    if expected is None and whole is None:
        return f"the length of the whole is not told: {content_range!r}"
    if whole is not None and (last >= whole or expected not in (None, whole)):
        return f"expected {whole if expected is None else expected} bytes in all, got {content_range!r}"
    return None


def _reply_fault(reply: Any, known: ContentVersion | None, n_before: int) -> str | None:
    """Return the reason why a reply is neither the whole content nor the part that was asked for; None if it is.

    Status 200 with a range is a part as well: some servers send it so.
    """
    content_range = reply.headers.get("Content-Range")
    if reply.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
        return f"expected status 200, got {reply.status}"
    if content_range is None:
        return "got a part without its place" if reply.status == http.client.PARTIAL_CONTENT else None
    if _encoding(reply) != "identity":
        return "got a compressed part"
    if n_before and known is not None and _validator(reply.headers) not in (None, known.validator):
        return "the content has changed"
    return _range_fault(content_range, known, n_before)


def _origin(reply: Any) -> ContentVersion:
    """Return the origin of the content that a reply begins."""
    if _encoding(reply) != "identity":
        return ContentVersion(None, None)  # its bytes are decompressed: the server knows no place in them
    content_range = reply.headers.get("Content-Range")
    n_bytes = _parse_content_range(content_range)[2] if content_range else reply.length
    return ContentVersion(_validator(reply.headers), n_bytes)


def _encoding(reply: Any) -> str:
    encoding: str = reply.headers.get("Content-Encoding", "").strip().lower() or "identity"
    return encoding.removeprefix("x-")


def _chunks(reply: Any) -> Iterator[bytes]:
    """Yield the content, decompressed.

    Raises:
        ConnectionError: the network failed, or the compressed content is damaged.
    """
    source = gzip.GzipFile(fileobj=reply) if _encoding(reply) == "gzip" else reply
    try:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise ConnectionError(str(error)) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)
