"""A local server that speaks xeno-canto's API v3, with its quirks, over a number of synthetic recordings."""

from __future__ import annotations

import http.server
import io
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile

KEY = "s3cret-key-0123"
SPECIES = (
    ("Parus", "major", "Great Tit"),
    ("Cuculus", "canorus", "Common Cuckoo"),
    ("Sylvia", "borin", "Garden Warbler"),
)
LICENSES = ("by-nc-sa/4.0", "by-nc-nd/4.0", "by-sa/4.0", "by/4.0")


def _mp3(number: int) -> bytes:
    rng = np.random.default_rng(number)
    sound = 0.3 * np.sin(2 * np.pi * rng.uniform(800, 6000) * np.arange(16_000) / 16_000)
    out = io.BytesIO()
    soundfile.write(out, sound, 16_000, format="MP3", subtype="MPEG_LAYER_III")
    return out.getvalue()


@dataclass
class XenoCanto:
    """The archive, and how it behaves."""

    n_recordings: int = 25
    address: str = ""
    busy_every: int = 0
    """Every so many requests one gets 503 or 429."""
    break_every: int = 0
    """Every so many downloads the connection ends half way, once per file."""
    shift_after_page: int = 0
    """After this page has been read once, a new recording appears at the front, so later pages shift."""
    remove_after_page: int = 0
    """After this page has been read once, the newest recording is removed, so later pages shift the other way."""
    odd_pages: dict[int, bytes] = field(default_factory=dict)
    """Sent instead of the page of this number."""
    removed: set[int] = field(default_factory=set)
    changed: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Unusual values, by recording."""
    outside: set[int] = field(default_factory=set)
    """Recordings that are found by their number alone, because the query does not fit them any more."""
    sounds: dict[int, bytes] = field(default_factory=dict)
    """Sent instead of a recording."""
    long_wait_after: int | None = None
    """After so many downloads each gets 429, with a Retry-After of a day."""
    n_requests: int = 0
    n_downloads: int = 0
    broken: set[int] = field(default_factory=set)
    seen_urls: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def recording(self, number: int) -> dict[str, Any]:
        genus, species, english = SPECIES[number % 3]
        scheme_less = self.address.removeprefix("http:")
        return {
            "id": str(number), "gen": genus, "sp": species, "ssp": "", "grp": "birds", "en": english,
            "rec": f"Recordist {number % 5}", "cnt": "Spain", "loc": "Catalonia",
            "lat": "41.5" if number % 4 else None,
            "lon": "2.1" if number % 4 else None, "alt": "", "type": "song", "sex": "", "stage": "",
            "url": f"//xeno-canto.org/{number}", "file": f"{self.address}/{number}/download" if number % 7 else "",
            "file-name": f"XC{number}-song.mp3", "sono": {}, "osci": {},
            "lic": f"//creativecommons.org/licenses/{LICENSES[number % 4]}/", "q": "ABCDE "[number % 6].strip(),
            "length": f"0:{number % 60:02d}", "time": "05:30" if number % 2 else "?",
            "date": f"2024-05-{number % 28:02d}",
            "uploaded": "2024-06-01", "also": ["Turdus merula", ""] if number % 3 else [""], "rmk": "", "smp": "44100",
            "server": scheme_less, **self.changed.get(number, {}),
        }  # fmt: skip

    def page(self, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if asked.get("key") != KEY:
            return 401, {"error": "client_error", "message": "Missing or invalid 'key' parameter. See the docs."}
        if ":" not in asked.get("query", ""):
            return 400, {"error": "client_error", "message": "Query must use tags"}
        per_page, page = int(asked.get("per_page", 100)), int(asked.get("page", 1))
        numbers = [n for n in range(self.n_recordings, 0, -1) if n not in self.removed]
        if asked["query"].startswith("nr:"):
            numbers = [n for n in numbers if f"nr:{n}" == asked["query"]]
        else:
            numbers = [n for n in numbers if n not in self.outside]
        part = numbers[(page - 1) * per_page : page * per_page]
        if self.shift_after_page and page == self.shift_after_page:
            self.n_recordings, self.shift_after_page = self.n_recordings + 1, 0
        if self.remove_after_page and page == self.remove_after_page:
            self.removed, self.remove_after_page = {*self.removed, self.n_recordings}, 0
        return 200, {
            "numRecordings": str(len(numbers)), "numSpecies": "3", "page": page,
            "numPages": -(-len(numbers) // per_page), "recordings": [self.recording(n) for n in part],
        }  # fmt: skip


class _Handler(http.server.BaseHTTPRequestHandler):
    archive: XenoCanto
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        archive = self.archive
        with archive.lock:
            archive.n_requests += 1
            archive.seen_urls.append(self.path)
            busy = archive.busy_every and archive.n_requests % archive.busy_every == 0
            status = 503 if archive.n_requests % 2 else 429
        if busy:
            self._send(status, b"try again", {"Retry-After": "0.01"})
            return
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/api/3/recordings":
            asked = dict(urllib.parse.parse_qsl(url.query))
            with archive.lock:
                status, reply = archive.page(asked)
            odd = archive.odd_pages.get(int(asked.get("page", 1)))
            self._send(status, json.dumps(reply).encode() if odd is None else odd, {"Content-Type": "application/json"})
        elif url.path.endswith("/download"):
            self._download(int(url.path.split("/")[1]))
        else:
            self._send(404, b"not found", {})

    def _download(self, number: int) -> None:
        archive = self.archive
        content = archive.sounds.get(number) or _mp3(number)
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start >= len(content):
            self._send(416, b"", {})
            return
        part = content[start:]
        with archive.lock:
            archive.n_downloads += 1
            must_wait = archive.long_wait_after is not None and archive.n_downloads > archive.long_wait_after
        if must_wait:
            self._send(429, b"", {"Retry-After": "86400"})
            return
        with archive.lock:
            breaks = archive.break_every and archive.n_downloads % archive.break_every == 0
            breaks = breaks and number not in archive.broken
            if breaks:
                archive.broken.add(number)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: len(part) // 2] if breaks else part)
        self.close_connection = bool(breaks)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running(archive: XenoCanto) -> Iterator[XenoCanto]:
    """Yield the archive behind a local server."""
    handler = type("Handler", (_Handler,), {"archive": archive})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    archive.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
