"""Forms with files: bombs, odd names and lengths, and clients that go away."""

from __future__ import annotations

import io
import socket
import struct
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product
from pathlib import Path
from urllib.parse import quote

import httpx2 as httpx
import numpy as np
import psutil
import soundfile
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.service import MAX_BATCHES

TRAVERSAL = [
    *("../" * n + "etc/passwd" for n in range(1, 6)),
    *("..\\" * n + "windows\\win.ini" for n in range(1, 4)),
    *("..%2f" * n + "etc%2fpasswd" for n in range(1, 4)),
    *("..%252f" * n + "etc%252fpasswd" for n in range(1, 4)),
    *("..%5c", "..%255c", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "....//", "....\\\\", "..;/", "..%00/", "..%0d/"),
    *(
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "\\\\server\\share",
        "C:\\x",
        "C:/x",
        "~/x",
        "~root/x",
        "$HOME",
    ),
    *("%c0%ae%c0%ae/", "%e0%80%ae/", "\u2025/", "\uff0e\uff0e/", "\u2024\u2024/", ".\u200b./", "..\u2215", "..\u2044"),
    *(
        "x\x00.wav",
        "%00",
        "x%00.wav",
        "nul",
        "con",
        "aux.wav",
        "-rf",
        "--help",
        "|id",
        "`id`",
        "$(id)",
        "x;id",
        "x\ny",
        "*",
    ),
]


def test_no_file_name_escapes_the_folder(level_bundle: Bundle, serve: Serve, tmp_path: Path, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    assert len(TRAVERSAL) >= 50
    secret = b"root:"
    routes = ("/static/{}", "/recordings/{}", "/api/v1/recordings/{}/audio", "/api/v1/models/{}/card", "/jobs/{}")
    for k, text in enumerate(TRAVERSAL):
        for form in {text, quote(text, safe="")}:
            for route in {routes[0], routes[k % 5]}:
                try:
                    reply = client.get(route.format(form))
                except httpx.InvalidURL:
                    continue
                assert reply.status_code in (400, 404, 422), (route, form)
                assert secret not in reply.content
        reply = client.post("/api/v1/identify?store=true", files={"audio": (text, tone.read_bytes())})
        assert reply.status_code in (200, 400), text
    files = [("audio", (f"{text}/x.wav", tone.read_bytes())) for text in TRAVERSAL]
    for species in ({}, *({"species": text} for text in TRAVERSAL[::8])):
        assert client.post("/api/v1/training-data", files=files, data=species).status_code in (200, 400, 422), species
    outside = {path.name for path in tmp_path.iterdir()}
    assert outside == {"server", tone.name}
    inside = {path.name for path in (tmp_path / "server").iterdir()}
    assert inside <= {"server.lock", "state.db", "state.db-wal", "state.db-shm", "files"} | {
        path.name for path in (tmp_path / "server").glob("spool-*")
    }


def test_odd_lengths_are_refused(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    lengths = (b"0" * 5000, b"0" * 20 + b"99999999", b"9" * 30, b"-1", b"\xb2", b"1e3")
    paths = (b"/api/predict", b"/api/v1/training-data", b"/api/v1/retrain", b"/v2/models/level/infer")
    for path, length in product(paths, lengths):
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=60) as connection:
            connection.sendall(
                b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + length + b"\r\n\r\n"
            )
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        assert b" 500 " not in answer.partition(b"\r\n")[0] + b" ", answer
        assert not answer or answer.startswith(b"HTTP/1.1 4"), answer


def flac(seconds: float, rate_hz: int, n_channels: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros((round(seconds * rate_hz), n_channels), np.int16), rate_hz, format="FLAC")
    return out.getvalue()


def encoded(kind: str, subtype: str, seconds: float, rate_hz: int) -> bytes:
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", rate_hz, 1, subtype, format=kind) as file:
        for _ in range(round(seconds / 60)):
            file.write(np.zeros(60 * rate_hz, np.float32))
    return out.getvalue()


def lying_flac() -> bytes:
    data = bytearray(flac(1, 48_000, 1))
    (word,) = struct.unpack(">Q", data[18:26])
    data[18:26] = struct.pack(">Q", word | (1 << 36) - 1)
    return bytes(data)


def test_decompression_bombs_are_rejected_within_memory_limit(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder, limits=Limits(max_duration_s=60))
    bombs = {
        "two minutes of ogg": encoded("OGG", "VORBIS", 120, 8_000),
        "two hours of flac": flac(7200, 8_000, 1),
        "two minutes of mp3": encoded("MP3", "MPEG_LAYER_III", 120, 8_000),
        "a header that lies": lying_flac(),
        "a rate of 2 GHz": b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\xff\xff\xff\x7f" + bytes(100),
    }
    client.post("/api/predict", content=tone.read_bytes())
    here = psutil.Process()
    for name, body in bombs.items():
        before, peak, done = _memory(here), [0], threading.Event()

        def watch(peak: list[int] = peak, done: threading.Event = done) -> None:
            while not done.wait(0.03):
                peak[0] = max(peak[0], _memory(here))

        thread = threading.Thread(target=watch)
        thread.start()
        statuses = {client.post(path, content=body).status_code for path in ("/api/predict", "/api/v1/identify")}
        done.set()
        thread.join()
        assert statuses <= {413, 422}, name
        assert peak[0] - before < 100e6, f"{name}: {(peak[0] - before) / 1e6:.0f} MB"
    within_limits = client.post("/api/v1/identify", content=flac(15, 192_000, 8))
    assert within_limits.status_code in (200, 202, 413)


def _memory(process: psutil.Process) -> int:
    """Bytes of a process and its children that are their own; one between fork and exec still has its parent's."""
    total, own = 0, process.cmdline()
    for each in (process, *process.children(recursive=True)):
        try:
            if each != process and each.cmdline() == own:
                continue
            total += each.memory_info().rss - each.memory_info().shared
        except psutil.Error:
            continue
    return total


def test_playlists_open_no_connection(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    requests: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

    listener = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{listener.server_port}/x.ts"
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, np.zeros(16_000), 16_000)
    bodies = {
        "x.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        "x.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "x.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "x.wav": f"#EXTM3U\n#EXTINF:1,\n{url}\n",
    }
    client = serve(model=level_bundle.folder)
    for name, body in bodies.items():
        for path in ("/api/predict", "/api/v1/identify"):
            assert client.post(path, files={"audio": (name, body.encode())}).status_code == 422, name
        files = [("audio", (name, body.encode())), ("audio", ("t.csv", f"path,species\n{name},Avis magna\n".encode()))]
        files_sent = client.post("/api/v1/training-data", files=files).json()["files"]
        assert {each["status"] for each in files_sent} == {"rejected"}
    listener.shutdown()
    listener.server_close()
    assert not requests


def test_bad_uploads_are_refused_by_name_and_leave_nothing(
    level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder, limits=Limits(max_bytes=300_000, max_duration_s=600))
    many = tmp_path / "many.wav"
    soundfile.write(many, np.zeros((800, 16)), 16_000)
    long = tmp_path / "long.flac"
    soundfile.write(long, np.zeros(700 * 8_000), 8_000)
    cases: list[tuple[int, str, bytes]] = [
        (422, "but a page in HTML", b"<!-- moved --><html>no</html>"),
        (422, "not a sound file", b"PK\x03\x04" + bytes(1000)),
        (413, "header promises 700 s", long.read_bytes()),
        (413, "header promises", lying_flac()),
        (413, "at most 8 channels", many.read_bytes()),
        (413, "at most 300000 bytes", bytes(300_001)),
    ]
    for status, message, body in cases:
        for reply in (
            client.post("/api/v1/identify", content=body),
            client.post("/api/predict", files={"audio": ("<b>the name.wav", body)}),
        ):
            assert reply.status_code == status, reply.text
            assert reply.headers["content-type"] == "application/problem+json"
            assert message in reply.json()["detail"]
            assert str(tmp_path) not in reply.text
            assert "upload-" not in reply.text
    assert "or as the body, got nothing." in client.post("/api/v1/identify", content=b"").json()["detail"]
    empty = client.post("/api/v1/identify?store=true", files={"audio": ("empty.wav", b"")})
    assert (empty.status_code, empty.json()["detail"]) == (422, "empty.wav: the file is empty (0 bytes).")
    (row,) = client.get("/api/v1/recordings").json()["recordings"]
    assert (row["name"], row["state"], row["error"]) == ("empty.wav", "failed", "the file is empty (0 bytes).")
    unannounced = client.post("/api/v1/identify", content=(bytes(100_000) for _ in range(5)))
    assert unannounced.status_code == 413
    for query, status in (("overlap=-1", 422), ("min_score=2", 422), ("format=nope", 400), ("overlap=2", 400)):
        assert client.post(f"/api/v1/identify?{query}", content=tone.read_bytes()).status_code == status
    assert client.post("/api/predict", files={"other": b"x"}).status_code == 400
    assert client.post("/api/predict", files=[("audio", b"x"), ("audio", b"y")]).status_code == 400
    assert client.get("/nowhere").json()["title"] == "Not Found"
    detail = client.post("/api/v1/identify/", content=b"x").json()["detail"]
    assert detail == "Not Found: /api/v1/identify/. Addresses here have no slash at their end."
    (spool,) = (tmp_path / "server").glob("spool-*/")
    assert not list(spool.iterdir()), "no upload stays"
    assert client.post("/api/predict", files={"audio": tone.read_bytes()}).status_code == 200


def test_disconnected_client_leaves_nothing(level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    head = b"POST /api/v1/identify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    assert client.post("/api/predict", files={"audio": tone.read_bytes()}).status_code == 200
    n_open = psutil.Process().num_fds()
    for _ in range(100):
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(head + bytes(1000))
    assert client.post("/api/predict", files={"audio": tone.read_bytes()}).status_code == 200
    (spool,) = (tmp_path / "server").glob("spool-*/")
    wait_for(lambda: not list(spool.iterdir()), within_s=10)
    wait_for(lambda: psutil.Process().num_fds() <= n_open + 20, within_s=10)
    assert client.get("/api/metrics").json()["waiting"] == 0


def test_malicious_multipart_bodies_are_rejected(
    level_bundle: Bundle, serve: Serve, tmp_path: Path, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    kind = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    bodies = [
        (kind, b"".join(part % k for k in range(10_000)) + b"--b--\r\n"),
        (kind, b"--b\r\n" + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n--b--"),
        (kind, b"\r\n" * 100_000 + b"--b--"),
        (kind, b"no boundary at all"),
        ("multipart/form-data", b"--b--"),
        (kind, b'--b\r\nContent-Disposition: form-data; name="audio"\r\n\r\n' + b"x" * 10_000 + b"\r\n--b--\r\n"),
    ]
    for content_type, body in bodies:
        reply = client.post("/api/predict", content=body, headers={"Content-Type": content_type})
        assert reply.status_code == 400, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
    names = [
        "../../etc/passwd",
        "..\\..\\x",
        "%2e%2e%2fx",
        "a" * 1000,
        "<script>alert(1)</script>.wav",
        "x\n.wav",
        "-rf",
    ]
    for name in names:
        reply = client.post("/api/v1/identify", files={"audio": (name, tone.read_bytes())})
        assert reply.status_code == 200
        assert not {"/", "\\"} & set(reply.json()["recording"])
        assert len(reply.json()["recording"]) <= 255
    assert {path.name for path in tmp_path.iterdir()} == {"server", tone.name}


def test_few_folders_come_at_once(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    head = "POST /api/v1/training-data HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    body = '--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
    with ExitStack() as stack:
        for _ in range(MAX_BATCHES):
            coming = stack.enter_context(socket.create_connection(("127.0.0.1", client.base_url.port or 0)))
            coming.sendall(f"{head}Content-Length: 1000\r\n\r\n{body}".encode())

        def refusal() -> httpx.Response | None:
            reply = client.post("/api/v1/training-data", files={"audio": ("a.txt", b"nothing")})
            return reply if reply.status_code == 503 else None

        reply = wait_for(refusal)
        assert isinstance(reply, httpx.Response)
        assert reply.headers["Retry-After"]
    wait_for(lambda: client.post("/api/v1/training-data", files={"audio": ("a.txt", b"nothing")}).status_code == 422)
