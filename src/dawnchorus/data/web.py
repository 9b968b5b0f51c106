"""Asking web servers politely: a rate, retries, and downloads that go on where they stopped."""

from __future__ import annotations

import email.utils
import http.client
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dawnchorus import __version__
from dawnchorus.errors import FetchFailed

TIMEOUT_S = 60
MAX_TRIES = 6
MAX_WAIT_S = 120.0
RETRIED = frozenset((408, 429, 500, 502, 503, 504))
CHUNK_BYTES = 1 << 16


class Web:
    """Requests to one server, at most `per_s` of them in a second, from any thread.

    `secret` is taken out of everything that is said about a failure.
    """

    def __init__(self, *, per_s: float, secret: str | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._every_s = 1 / per_s
        self._secret = secret
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_at = 0.0

    def read(self, url: str) -> bytes:
        """The content at `url`.

        Raises:
            FetchFailed: the server refused, or could not be reached after several tries.
        """
        content: bytes = self._retried(url, lambda: self._read(url))
        return content

    def download(self, url: str, path: Path) -> None:
        """The content at `url` as a file, which has its name only when it is whole. What a broken try left is used.

        Raises:
            FetchFailed: as `read`.
            OSError: it cannot be written.
        """
        part = path.with_name(f".{path.name}.part")
        self._retried(url, lambda: self._fill(url, part))
        part.replace(path)

    def _retried(self, url: str, work: Callable[[], Any]) -> Any:
        for number in range(1, MAX_TRIES + 1):
            self._wait_for_turn()
            try:
                return work()
            except urllib.error.HTTPError as error:
                if error.code not in RETRIED or number == MAX_TRIES:
                    body = error.read(2000).decode("utf-8", "replace")
                    raise FetchFailed(self._clean(f"{url}: {error.code} {error.reason}. {body}"), error.code) from None
                wait_s = _asked_wait_s(error.headers.get("Retry-After"))
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                if number == MAX_TRIES:
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
        return urllib.request.urlopen(urllib.request.Request(url, headers=about), timeout=TIMEOUT_S)  # noqa: S310

    def _read(self, url: str) -> bytes:
        with self._open(url, {}) as reply:
            content: bytes = reply.read()
            return content

    def _fill(self, url: str, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        try:
            reply = self._open(url, {"Range": f"bytes={have}-"} if have else {})
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
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
        return text


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
