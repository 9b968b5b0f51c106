"""Asking web servers politely: a rate, retries, and downloads that go on where they stopped."""

from __future__ import annotations

import base64
import email.utils
import functools
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawnchorus import __version__
from dawnchorus.errors import FetchFailed
from dawnchorus.files import cannot_write

TIMEOUT_S = 60
MAX_TRIES = 6
MAX_WAIT_S = 120.0
RETRIED = frozenset((408, 429, 500, 502, 503, 504))
CHUNK_BYTES = 1 << 16
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@")


@dataclass(frozen=True)
class Page:
    """The content at an address; `url` is the address after redirects."""

    url: str
    content_type: str
    content: bytes


class Web:
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
        """The content at `url`.

        Raises:
            FetchFailed: the server refused, or could not be reached after several tries.
        """
        return self.read_page(url).content

    def read_page(self, url: str, *, accept: str = "*/*") -> Page:
        """Read the content at `url` in one of the media types in `accept`.

        Raises:
            FetchFailed: as `read`.
        """
        page: Page = self._retried(url, lambda: self._read(url, accept))
        return page

    def download(self, url: str, path: Path, *, sha256: str | None = None) -> None:
        """The content at `url` as a file, which has its name only when it is whole. What a broken try left is used.

        Raises:
            FetchFailed: as `read`; or the content has another checksum than `sha256`.
            OutputError: it cannot be written.
        """
        part = path.with_name(f".{path.name}.part")
        try:
            self._retried(url, lambda: self._fill(url, part))
            if sha256 is not None:
                check_sha256(part, sha256, source=self._clean(url))
            part.replace(path)
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
                        answer = f"{url}: {error.code} {error.reason}. {_text_of(error)}"
                        raise FetchFailed(self._clean(answer.rstrip(". ")), error.code) from None
                wait_s = _asked_wait_s(error.headers.get("Retry-After"))
            except _BROKEN as error:
                if number == self._max_tries:
                    raise FetchFailed(self._clean(f"{url}: {_reason(error)} (tried {number} times)"), None) from None
                wait_s = None
            if wait_s is None:
                wait_s = 2.0 ** (number - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - so that clients do not go in step
            self._sleep(min(wait_s, MAX_WAIT_S))
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
            raise FetchFailed(self._clean(f"{url}: expected an address that begins with https://"), None)
        about = {"User-Agent": f"dawnchorus/{__version__}", **headers}
        parts = urllib.parse.urlsplit(url)
        login, _, server = parts.netloc.rpartition("@")
        request = urllib.request.Request(parts._replace(netloc=server).geturl(), headers=about)  # noqa: S310
        if login:
            request.add_unredirected_header("Authorization", _basic_authentication(login))
        return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=_trusted_roots())  # noqa: S310

    def _read(self, url: str, accept: str) -> Page:
        with self._open(url, {"Accept": accept}) as reply:
            return Page(reply.url, reply.headers.get_content_type(), reply.read())

    def _fill(self, url: str, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        try:
            reply = self._open(url, {"Range": f"bytes={have}-"} if have else {})
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            error.close()
            part.unlink()  # it is as long as the file or longer, and nobody knows of what: begin again
            raise ConnectionError("the server has no more than we have") from None
        with reply, part.open("ab" if reply.status == http.client.PARTIAL_CONTENT else "wb") as file:
            expected = reply.headers.get("Content-Length")
            got = 0
            while chunk := reply.read(CHUNK_BYTES):
                file.write(chunk)
                got += len(chunk)
        if expected is not None and got != int(expected):
            raise ConnectionError(f"the connection ended after {got} of {expected} bytes")

    def _clean(self, text: str) -> str:
        if self._secret:
            for form in (self._secret, urllib.parse.quote_plus(self._secret), urllib.parse.quote(self._secret)):
                text = text.replace(form, "***")
        return _LOGIN.sub("***@", text)


def check_sha256(path: Path, expected: str, *, source: str) -> None:
    """Compare a downloaded file with its pinned checksum, and remove it if it is another file.

    Raises:
        FetchFailed: it is another file.
    """
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        n_bytes = path.stat().st_size
        path.unlink()
        raise FetchFailed(f"{source}: expected a file of sha256 {expected}, got {n_bytes} bytes of sha256 {got}", None)


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


def _text_of(error: urllib.error.HTTPError) -> str:
    """The beginning of a server's explanation, unless it is a page for people."""
    if error.headers.get_content_type() == "text/html":
        return ""
    return error.read(2000).decode("utf-8", "replace")


def _asked_wait_s(retry_after: str | None) -> float | None:
    """Seconds from a Retry-After header, which has seconds or a date."""
    if retry_after is None:
        return None
    try:
        return max(float(retry_after), 0.0)
    except ValueError:
        moment = email.utils.parsedate_to_datetime(retry_after)
        return max(moment.timestamp() - time.time(), 0.0)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)
