"""Downloads from a server that misbehaves: one sound whole, or no file and a reason."""

from __future__ import annotations

import gzip
import http.server
import io
import logging
import os
import shutil
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.http_server import QuietHandler, serving_http

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.data.sources.download import decode_audio
from dawnchorus.errors import DownloadError, OutputError
from dawnchorus.storage.http_client import MAX_WAIT_S, HttpClient, _system_certificates

NAME = "XC1.wav"

DATE = "Fri, 27 Nov 2026 01:00:00 GMT"

OLD, NEW = "Wed, 01 Apr 2026 01:00:00 GMT", "Thu, 02 Apr 2026 01:00:00 GMT"


def make_audio(seed: int, n: int = 1000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.random.default_rng(seed).normal(0, 0.1, n), 8000, format="WAV")
    return out.getvalue()


A, B, LONGER = make_audio(1), make_audio(2), make_audio(3, 1500)

N = len(A)

HALF = N // 2

PAGE = b"<!DOCTYPE html><html><body>Too many requests</body></html>"


def reply(
    body: bytes, status: str = "200 OK", *, cut: int | None = None, length: int | str | None = -1, **headers: str
) -> bytes:
    """Return one reply; of `cut`, only so many bytes of its body. `length` -1 is the true one, None is none."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if length is not None:
        fields["Content-Length"] = str(len(body) if length == -1 else length)
    head = "".join(f"{name}: {value}\r\n" for name, value in {"Date": DATE, **fields}.items())
    return f"HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n".encode() + body[:cut]


def part(
    body: bytes, first: int, *, whole: int | str | None = None, status: str = "206 Partial Content", **headers: str
) -> bytes:
    content_range = f"bytes {first}-{len(body) - 1}/{len(body) if whole is None else whole}"
    return reply(body[first:], status, cut=None, length=-1, Content_Range=content_range, **headers)


def chunked(body: bytes, *, end: bytes = b"0\r\n\r\n") -> bytes:
    return reply(b"%x\r\n%s\r\n" % (len(body), body) + end, length=None, Transfer_Encoding="chunked")


CUT_A = reply(A, ETag='"a"', cut=HALF)

PACKED = gzip.compress(A)

MISBEHAVIOURS: dict[str, tuple[list[bytes], bytes | None]] = {
    "goes on with the same file": ([CUT_A, part(A, HALF, ETag='"a"')], A),
    "goes on by the time of last modification": (
        [reply(A, Last_Modified=OLD, cut=HALF), part(A, HALF, Last_Modified=OLD)],
        A,
    ),
    "replaced half way: 200 with the new file": ([CUT_A, reply(B, ETag='"b"')], B),
    "replaced half way: 206 in spite of If-Range": ([CUT_A, part(B, HALF, ETag='"b"'), reply(B, ETag='"b"')], B),
    "replaced, and told by the time alone": (
        [reply(A, Last_Modified=OLD, cut=HALF), part(B, HALF, Last_Modified=NEW), reply(B)],
        B,
    ),
    "replaced by a longer one": ([CUT_A, part(LONGER, HALF), reply(LONGER)], LONGER),
    "neither ETag nor time": ([reply(A, cut=HALF), reply(B)], B),
    "a weak ETag is none": ([reply(A, ETag='W/"a"', cut=HALF), reply(B, ETag='W/"a"')], B),
    "modified in the second of the reply": ([reply(A, Last_Modified=DATE, cut=HALF), reply(B)], B),
    "another part than asked for": ([CUT_A, part(A, HALF - 10, ETag='"a"'), reply(A)], A),
    "a part without its range": ([CUT_A, reply(A[HALF:], "206 Partial Content"), reply(A)], A),
    "a part with an invalid range": (
        [CUT_A, reply(A[HALF:], "206 Partial Content", Content_Range="bytes */x"), reply(A)],
        A,
    ),
    "a part of unknown length, which is known already": ([CUT_A, part(A, HALF, whole="*", ETag='"a"')], A),
    "a part sent as 200": ([CUT_A, part(A, HALF, status="200 OK", ETag='"a"')], A),
    "the first half as 200, with its range": ([reply(A[:HALF], Content_Range=f"bytes 0-{HALF - 1}/{N}")], None),
    "no more than we have: 416": ([CUT_A, reply(b"", "416 Range Not Satisfiable"), reply(B)], B),
    "always cut": (
        [CUT_A, reply(A[HALF:], "206 Partial Content", cut=0, Content_Range=f"bytes {HALF}-{N - 1}/{N}", ETag='"a"')],
        None,
    ),
    "a page with 200": ([reply(PAGE, Content_Type="text/html")], None),
    "a page with 200, as sound": ([reply(b"\xef\xbb\xbf  " + PAGE, Content_Type="audio/wav"), reply(A)], A),
    "an error as JSON with 200": ([reply(b'{"error": "the database is down"}')], None),
    "the pointer of a large file": (
        [reply(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")],
        None,
    ),
    "an empty file": ([reply(b""), reply(A)], A),
    "bytes that are no sound": ([reply(bytes(range(256)) * 8)], None),
    "no length, cut once": ([reply(A, length=None, cut=HALF), reply(A, length=None), reply(A, length=None)], A),
    "a length that is none": ([reply(A, length="many"), reply(A, length="many")], A),
    "compressed, though not asked for": ([reply(PACKED, Content_Encoding="gzip")], A),
    "compressed and cut": (
        [reply(PACKED, Content_Encoding="gzip", ETag='"a"', cut=HALF), reply(PACKED, Content_Encoding="x-gzip")],
        A,
    ),
    "compressed by what we do not know": ([reply(A, Content_Encoding="br")], None),
    "in chunks, cut": ([chunked(A[:HALF], end=b""), chunked(A)], A),
    "accepted, not ready": ([reply(b"", "202 Accepted"), reply(A)], A),
    "no content": ([reply(b"", "204 No Content")], None),
    "busy, with an odd wait": (
        [reply(b"", "503 Busy", Retry_After="soon"), reply(b"", "429 Busy", Retry_After="-5"), reply(A)],
        A,
    ),
}


@dataclass
class Misbehaving:
    """A server that gives one reply after another, the last one for ever."""

    replies: list[bytes]
    url: str = ""
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    script = Misbehaving([])

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            script.requests.append(b"".join(iter(self.rfile.readline, b"\r\n")).decode())
            self.wfile.write(script.replies[min(len(script.requests), len(script.replies)) - 1])

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as listening:
        script.url = f"http://127.0.0.1:{listening.server_address[1]}/{NAME}"
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield script
        listening.shutdown()


def download(server: Misbehaving, path: Path) -> list[float]:
    """Download, and give the waits."""
    waits: list[float] = []
    web = HttpClient(per_s=1e6, sleep=waits.append)
    with closing(DecoderProcess()) as decoder:
        web.download(server.url, path, check=lambda part: decode_audio(part, path.name, decoder=decoder))
    return waits


@pytest.mark.parametrize(("replies", "expected"), MISBEHAVIOURS.values(), ids=MISBEHAVIOURS.keys())
def test_downloaded_file_is_complete_or_absent(
    server: Misbehaving, tmp_path: Path, replies: list[bytes], expected: bytes | None
) -> None:
    server.replies = replies
    if expected is None:
        with pytest.raises(DownloadError) as failure:
            download(server, tmp_path / NAME)
        assert server.url in str(failure.value) or "expected sound" in str(failure.value)
    else:
        waits = download(server, tmp_path / NAME)
        assert all(0 <= wait <= MAX_WAIT_S for wait in waits)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left.get(NAME) == expected
    assert NAME not in left or len(left) == 1, "nothing else is left beside a whole file"


def test_download_resumes_only_the_same_file(server: Misbehaving, tmp_path: Path) -> None:
    server.replies = [CUT_A, reply(b"", "404 Not Found"), part(A, HALF, ETag='"a"')]
    with pytest.raises(DownloadError):
        download(server, tmp_path / NAME)
    download(server, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == A
    assert 'If-Range: "a"' in server.requests[-1]
    for note in (None, b"{", b'{"address": "of another", "origin": {"validator": "a", "n_bytes": 9}}'):
        (tmp_path / NAME).unlink()
        (tmp_path / f".{NAME}.part").write_bytes(B[:HALF])
        if note is not None:
            (tmp_path / f".{NAME}.part.json").write_bytes(note)
        server.requests, server.replies = [], [reply(A)]
        download(server, tmp_path / NAME)
        assert "Range:" not in server.requests[0]
        assert (tmp_path / NAME).read_bytes() == A


def test_note_of_before_the_rename_is_resumed(server: Misbehaving, tmp_path: Path) -> None:
    server.replies = [CUT_A, reply(b"", "404 Not Found"), part(A, HALF, ETag='"a"')]
    with pytest.raises(DownloadError):
        download(server, tmp_path / NAME)
    note = tmp_path / f".{NAME}.part.json"
    note.write_text(note.read_text().replace("url_sha256", "address").replace("version", "origin"))
    download(server, tmp_path / NAME)
    assert 'If-Range: "a"' in server.requests[-1]
    assert (tmp_path / NAME).read_bytes() == A


def test_a_full_disk_leaves_no_file_with_the_name(
    server: Misbehaving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    server.replies = [reply(A)]
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        download(server, tmp_path / NAME)
    assert not (tmp_path / NAME).exists()


def test_long_retry_after_is_refused_with_its_seconds(server: Misbehaving) -> None:
    server.replies = [reply(b"", "429 Busy", Retry_After="86400"), reply(A)]
    waits: list[float] = []
    with pytest.raises(DownloadError, match=r"429 .*asks to wait 86400 s \(Retry-After\)"):
        HttpClient(per_s=1e6, sleep=waits.append).read(server.url)
    assert max(waits, default=0) < MAX_WAIT_S
    assert len(server.requests) == 1


@pytest.mark.parametrize(("name", "content"), [("x.zip", A), ("x.onnx", A), ("x.tflite", A), ("x.npz", b"PK\3\4" + A)])
def test_a_file_of_another_kind_is_refused(server: Misbehaving, tmp_path: Path, name: str, content: bytes) -> None:
    server.replies = [reply(content)]
    with pytest.raises(DownloadError, match="expected a"):
        HttpClient(per_s=1e6).download(server.url, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_no_log_has_the_secret(server: Misbehaving, caplog: pytest.LogCaptureFixture) -> None:
    server.replies = [reply(A).replace(b"Date: ", b"no colon here\r\nDate: ")]
    caplog.set_level(logging.DEBUG)
    url = f"{server.url}?key=the-key"
    assert HttpClient(per_s=1e6, secret="the-key").read(url) == A
    assert "the-key" not in caplog.text


def test_an_invalid_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be understood"):
        HttpClient(per_s=1e6).download("http://[x/y", tmp_path / "y")


def test_a_connection_is_kept_for_the_next_request(tmp_path: Path) -> None:
    connections = []

    class Handler(QuietHandler, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            connections.append(self.client_address)
            super().setup()

        def do_GET(self) -> None:
            self.send_response(404 if self.path == "/gone" else 200)
            self.send_header("Content-Length", str(N))
            self.end_headers()
            self.wfile.write(A)

    web = HttpClient(per_s=1e6)
    with serving_http(Handler) as url:
        assert web.read(f"{url}/a") == A
        with pytest.raises(DownloadError, match="404"):
            web.read(f"{url}/gone")
        web.download(f"{url}/{NAME}", tmp_path / NAME)
    assert len(connections) <= 2, "the one of the error may be closed with its body unread"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", None])
def test_certificates_of_this_machine_are_trusted(
    variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", tmp_path / "key.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", *key, "-out", tmp_path / "cert.pem", *names], check=True, capture_output=True
    )
    for each in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(each, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path / "cert.pem"))
    _system_certificates.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    class Handler(QuietHandler, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(A)

    with serving_http(Handler, context) as url:
        web = HttpClient(per_s=1e6, max_tries=1)
        if variable is None:
            with pytest.raises(DownloadError, match="certificate verify failed"):
                web.read(url)
        else:
            assert web.read(url) == A
    _system_certificates.cache_clear()


def test_a_page_is_read_whole_and_unpacked(server: Misbehaving) -> None:
    server.replies = [reply(PACKED, cut=HALF), reply(PACKED, Content_Encoding="gzip", cut=HALF)]
    server.replies.append(reply(PACKED, Content_Encoding="gzip"))
    assert HttpClient(per_s=1e6, sleep=lambda _seconds: None).read(server.url) == A
