"""Requests of hostile clients: none makes the server fail, read what it should not, or tell what it should not."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import quote

import httpx2 as httpx
import numpy as np
import psutil
import pytest
import schemathesis
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from tests.fixtures.server import Serve

from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.history import DetectionStore
from dawnchorus.server.http.app import create_app
from dawnchorus.server.http.auth import find_role
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.server.service import open_service
from dawnchorus.server.settings import Role, Settings

ROLES = {
    Role.PUBLIC: {
        "GET /api/v1/health/live",
        "GET /api/v1/health/ready",
        "GET /login",
        "POST /login",
        "POST /logout",
        *("GET /v2/health/live", "GET /v2/health/ready"),
    },
    Role.IDENTIFY: {
        *("GET /", "POST /", "GET /docs", "GET /history", "GET /jobs/{job_id}", "GET /models", "GET /review"),
        *("GET /recordings", "GET /detections", "GET /api/v1/species", "GET /api/v1/sites"),
        *("GET /recordings/{sha256}", "GET /system", "GET /training", "GET /metrics", "GET /api/openapi.json"),
        *("GET /api/classes", "GET /api/health", "GET /api/metrics", "GET /api/retrain_status", "POST /api/predict"),
        *("GET /api/model_performance", "GET /api/system_stats"),
        *(
            "GET /api/v1/detections",
            "GET /api/v1/detections/{number}/spectrogram",
            "GET /api/v1/detections/{number}/audio",
        ),
        *(
            "GET /api/v1/jobs",
            "GET /api/v1/jobs/{job_id}",
            "GET /api/v1/jobs/{job_id}/events",
            "GET /api/v1/training-data",
        ),
        *("GET /api/v1/models", "GET /api/v1/models/active", "GET /api/v1/models/{bundle_id}/card"),
        *("GET /api/v1/recordings", "GET /api/v1/recordings/{sha256}", "GET /api/v1/recordings/{sha256}/detections"),
        *(
            "GET /api/v1/recordings/{sha256}/spectrogram",
            "GET /api/v1/recordings/{sha256}/spectrogram/{top_khz}/{level}/{index}",
            "GET /api/v1/recordings/{sha256}/clip",
            "GET /api/v1/recordings/{sha256}/timeline",
            "GET /api/v1/recordings/{sha256}/activity",
            "GET /api/v1/recordings/{sha256}/audio",
            "POST /api/v1/identify",
        ),
        *("GET /v2", "GET /v2/models/{name}", "GET /v2/models/{name}/ready", "POST /v2/models/{name}/infer"),
        *("GET /v2/models/{name}/versions/{version}", "GET /v2/models/{name}/versions/{version}/ready"),
        "POST /v2/models/{name}/versions/{version}/infer",
    },
    Role.TRAIN: {
        *("GET /api/v1/jobs/{job_id}/log", "POST /api/v1/jobs/{job_id}/cancel", "POST /api/v1/training-data"),
        *("POST /api/v1/retrain", "POST /api/trigger_retrain", "POST /api/upload_bulk", "POST /api/v1/models/compare"),
        *("PUT /api/v1/detections/{number}/review", "DELETE /api/v1/detections/{number}/review"),
    },
    Role.ADMIN: {
        *("DELETE /api/v1/jobs/{job_id}", "DELETE /api/v1/recordings/{sha256}", "POST /api/v1/recordings/delete"),
        *("POST /api/v1/models/rollback", "POST /api/v1/models/{bundle_id}/activate"),
    },
}
"""Every route is named here with what it asks for; a new one fails the test until it is."""


def test_every_route_requires_the_listed_role(level_bundle: Bundle, tmp_path: Path) -> None:
    with open_service(Settings(data=tmp_path / "server", model=level_bundle.folder)) as service:
        app = create_app(service)
    routes_by_role: dict[Role | None, set[str]] = {}
    routes = list(app.routes)
    while routes:
        route = routes.pop()
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner:
            routes.extend(inner)
        elif hasattr(route, "dependant"):
            role = find_role(route)
            for method in route.methods:
                routes_by_role.setdefault(role and role.role, set()).add(f"{method} {route.path}")
    assert routes_by_role == ROLES


VALUES = {
    "sha256": "0" * 64,
    "number": "1",
    "job_id": "0" * 32,
    "bundle_id": "0" * 12,
    "name": "style.css",
    "version": "1",
    "top_khz": "12",
    "level": "0",
    "index": "0",
}
"""For the parts of routes."""


@pytest.mark.parametrize("token", ["none", "wrong", "right"])
def test_changes_require_csrf_token_and_same_origin(token: str, level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    """Of those who are logged in by a cookie; browsers send it along with what other sites ask for."""
    client = serve(model=level_bundle.folder, tokens={"the-operators-one": Role.ADMIN})
    assert client.post("/login", data={"token": "the-operators-one"}).status_code == 303
    csrf = re.search(r'data-csrf="(\w+)"', client.get("/").text)
    assert csrf is not None
    headers = {"none": {}, "wrong": {"X-CSRF-Token": "0" * len(csrf[1])}, "right": {"X-CSRF-Token": csrf[1]}}[token]
    own = str(client.base_url).rstrip("/")
    senders = {
        "a program": ({}, True),
        "the page": ({"Sec-Fetch-Site": "same-origin", "Origin": own}, True),
        "the address bar": ({"Sec-Fetch-Site": "none"}, True),
        "a sister": ({"Sec-Fetch-Site": "same-site"}, False),
        "a stranger": ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.org"}, False),
        "a stranger with an old browser": ({"Origin": "https://evil.example.org"}, False),
        "a stranger who pretends": ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example.org"}, False),
        "a page without an origin": ({"Origin": "null"}, False),
    }
    unsafe = sorted(route for routes in ROLES.values() for route in routes if not route.startswith("GET"))
    assert len(unsafe) > 15
    for route in unsafe:
        method, path = route.split()
        for who, (sent, is_ours) in senders.items():
            if path in ("/login", "/logout"):
                continue  # see test_pages
            files = {"audio": (tone.name, tone.read_bytes())} if path == "/" else None  # its token is in the form
            reply = client.request(method, path.format(**VALUES), headers={**headers, **sent}, files=files)
            passes = is_ours and token == "right"  # noqa: S105 - of this test
            assert (reply.status_code != 403) == passes, f"{route} of {who}: {reply.status_code} {reply.text[:200]}"


def test_cross_origin_reads_and_forged_hosts_are_rejected(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    preflight = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"}
    for path in ("/api/predict", "/api/v1/identify", "/api/v1/models/rollback"):
        reply = client.options(path, headers=preflight)
        assert not [name for name in reply.headers if name.startswith("access-control")], path
    assert client.get("/", headers={"Host": "evil.example.org"}).status_code == 421
    name = "x\r\nSet-Cookie: a=b\r\n.wav"
    kept = client.post("/api/v1/identify?store=true", files={"audio": (name, tone.read_bytes())})
    assert "set-cookie" not in kept.headers
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    for url in (recording["audio"], recording["spectrogram"], f"/recordings/{recording['sha256']}"):
        response = client.get(url)
        assert response.status_code == 200
        assert "set-cookie" not in response.headers
    for path in ("/%0d%0aSet-Cookie:a=b", "/recordings/%0d%0aSet-Cookie:a=b", "//evil.example.org/%2e%2e"):
        reply = client.get(path)
        assert reply.status_code in (400, 404, 422)
        assert "set-cookie" not in reply.headers
        assert "location" not in reply.headers


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("/api/health", "127.0.0.1", 200),
        ("/api/health", "LOCALHOST:5000", 200),
        ("/api/health", "[::1]:5000", 200),
        ("/api/health", "evil.example.org", 421),
        ("/api/health", "127.0.0.1.evil.example.org", 421),
        ("/api/health", "127.0.0.1@evil.example.org", 421),
        ("/api/health", "evil.example.org/127.0.0.1", 421),
        ("/api/health", "evil.example.org#@127.0.0.1", 421),
        ("/api/health", "", 421),
        ("//127.0.0.1/api/health", "evil.example.org", 421),
        ("http://127.0.0.1/api/health", "evil.example.org", 421),
        ("/api/v1/health/live", "evil.example.org", 200),
    ],
)
def test_host_header_gives_no_right(target: str, host: str, status: int, level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: 127.0.0.1\r\nForwarded: host=127.0.0.1\r\n"
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=60) as connection:
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = connection.recv(4096)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer


def test_local_names_open_no_server_that_has_tokens(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={"the-operators-one": Role.ADMIN})
    for host in ("127.0.0.1", "localhost"):
        assert client.get("/api/health", headers={"Host": host, "X-Forwarded-For": "127.0.0.1"}).status_code == 401


def test_internal_errors_reveal_no_details(
    level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty faults: of the database, of files, of code, of those who ask."""
    client = serve(model=level_bundle.folder)
    good = tone.read_bytes()
    secret = f"{tmp_path}/inner at 0x7f00deadbeef in module.py"
    kinds: list[Exception] = [
        *(RuntimeError(secret), KeyError(secret), MemoryError(secret), RecursionError(secret), TypeError(secret)),
        *(OSError(28, "No space left on device", f"{tmp_path}/x"), PermissionError(13, "denied", f"{tmp_path}/x")),
        *(SQLAlchemyError(secret), OperationalError(secret, {}, Exception(secret)), UnicodeError(secret)),
    ]
    replies = []
    for error in kinds:
        for owner, method, request_once in (
            (InferencePool, "submit", partial(client.post, "/api/predict", content=good)),
            (DetectionStore, "get_recording", partial(client.get, f"/api/v1/recordings/{'0' * 64}")),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(owner, method, Mock(side_effect=error))
                replies.append(request_once())
    assert len(replies) == 20
    assert {reply.status_code for reply in replies} <= {500, 503, 507}
    replies += [
        client.post("/api/v1/models/none/activate"),
        client.get("/api/v1/jobs/none"),
        client.post("/api/v1/retrain", content=b"{"),
        client.post("/api/v1/training-data", files={"audio": ("x.zip", b"PK\x03\x04" + bytes(100))}),
    ]
    for reply in replies:
        assert reply.status_code >= 400
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["id"]
        assert not re.search(rf"{re.escape(str(tmp_path))}|0x[0-9a-f]{{6}}|\.py|Traceback|sqlalchemy", reply.text)
    assert client.post("/api/predict", content=good).status_code == 200


@pytest.mark.parametrize("role", [None, Role.IDENTIFY, Role.TRAIN])
def test_unauthorized_request_is_rejected_before_its_body_is_read(
    role: Role | None, level_bundle: Bundle, serve: Serve
) -> None:
    tokens = {f"the-token-of-{each.name}": each for each in (Role.IDENTIFY, Role.TRAIN, Role.ADMIN)}
    client = serve(model=level_bundle.folder, tokens=tokens)
    headers = {"Authorization": f"Bearer the-token-of-{role.name}"} if role else {}
    for needed, routes in ROLES.items():
        for route in routes:
            method, path = route.split()
            if path in ("/login", "/logout"):
                continue
            reply = client.request(
                method, path.format(**VALUES), headers=headers, content=b"{}" if role else b"x" * 70_000
            )
            is_allowed = needed is Role.PUBLIC or (role is not None and role >= needed)
            if is_allowed:
                assert reply.status_code not in (401, 403), route
            else:
                assert reply.status_code == (401 if role is None else 403), route


@pytest.mark.parametrize("n_examples", [3, pytest.param(100, marks=pytest.mark.ops)])
def test_replies_match_the_openapi_schema_for_any_request(
    n_examples: int, level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    client.post("/api/v1/identify?store=true", files={"audio": (tone.name, tone.read_bytes())})
    document = client.get("/api/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = str(client.base_url).rstrip("/")
    wanted = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
    checks = CHECKS.get_by_names(wanted)
    n_requests = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/events"):
            continue  # a stream; see test_jobs

        @settings(
            max_examples=n_examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def request_once(case: schemathesis.Case) -> None:
            nonlocal n_requests
            n_requests += 1
            case.call_and_validate(checks=checks, timeout=30)

        request_once()
    assert n_requests > 15 * n_examples
    assert client.post("/api/predict", content=tone.read_bytes()).status_code == 200


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


ODD = [
    ("GET", "/api/v1/detections?since=0001-01-01T00:00:00%2B14:00", {}),
    ("GET", "/api/v1/detections?until=9999-12-31T23:59:59-14:00", {}),
    ("GET", "/api/v1/detections?since=0001-01-01T00:00:00", {}),
    ("GET", "/api/v1/detections?species=%00", {}),
    ("GET", "/api/v1/detections?limit=99999999999999999999", {}),
    ("GET", "/api/v1/detections?min_score=nan", {}),
    ("GET", "/api/v1/detections/99999999999999999999/audio", {}),
    ("GET", "/api/v1/jobs/%00", {}),
    ("GET", "/api/v1/recordings/" + "f" * 64 + "/spectrogram?end_s=nan", {}),
    ("GET", "/api/v1/recordings/" + "f" * 64 + "/audio", {"Range": "bytes=99999999999999999999999-"}),
    ("GET", "/detections?min_score=x", {}),
    ("GET", "/recordings?recorded_from=0001-01-01&recorded_to=9999-12-31", {"Accept": "text/html"}),
    ("POST", "/api/v1/retrain", {"Transfer-Encoding": "chunked"}),
    ("POST", "/api/predict", {"Origin": "http://["}),
    ("GET", "/", {"Cookie": "dawnchorus_session=\u00e9"}),
    ("POST", "/api/predict", {"X-CSRF-Token": "\u00e9", "Cookie": "dawnchorus_session=x"}),
]
"""Requests whose values no client of ours sends."""


@pytest.mark.parametrize("tokens", [{}, {"the-operators-one": Role.ADMIN}], ids=["open", "closed"])
def test_odd_values_are_refused_and_nothing_fails(tokens: dict[str, Role], level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens=tokens)
    right = {"Authorization": b"Bearer the-operators-one"}
    for method, path, headers in ODD:
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        for more in ({}, right) if tokens else ({},):
            reply = client.request(method, path, headers={**encoded, **more})
            assert 200 <= reply.status_code < 500, (method, path, headers, reply.text)


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
        "eight minutes of ogg": encoded("OGG", "VORBIS", 480, 8_000),
        "two hours of flac": flac(7200, 8_000, 1),
        "eight minutes of mp3": encoded("MP3", "MPEG_LAYER_III", 480, 8_000),
        "eight channels at 192 kHz": flac(59, 192_000, 8),
        "a header that lies": lying_flac(),
        "a rate of 2 GHz": b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\xff\xff\xff\x7f" + bytes(100),
    }
    client.post("/api/predict", content=tone.read_bytes())
    here = psutil.Process()
    for name, body in bombs.items():
        if name.startswith("eight"):
            continue  # it is within the limits; see below
        before, peak, done = _memory(here), [0], threading.Event()

        def watch(peak: list[int] = peak, done: threading.Event = done) -> None:
            while not done.wait(0.01):
                peak[0] = max(peak[0], _memory(here))

        thread = threading.Thread(target=watch)
        thread.start()
        statuses = {client.post(path, content=body).status_code for path in ("/api/predict", "/api/v1/identify")}
        done.set()
        thread.join()
        assert statuses <= {413, 422}, name
        assert peak[0] - before < 100e6, f"{name}: {(peak[0] - before) / 1e6:.0f} MB"
    reply = client.post("/api/v1/identify", content=bombs["eight channels at 192 kHz"])
    assert reply.status_code in (200, 202, 413)


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


def test_secrets_appear_in_no_reply_or_log(
    level_bundle: Bundle, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    token = "a-secret-nobody-may-see"  # noqa: S105 - of this test
    client = serve(model=level_bundle.folder, tokens={token: Role.ADMIN})
    client.headers["Authorization"] = f"Bearer {token}"
    pages = ("/", "/system", "/metrics", "/api/metrics", "/api/health", "/api/openapi.json", "/docs", "/models")
    for page in pages:
        assert token not in client.get(page).text
    client.get("/api/v1/jobs/x")
    assert token not in caplog.text


def test_counts_equal_those_of_the_clients(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    statuses: list[int] = []

    def request_once() -> None:
        for k in range(20):
            body = tone.read_bytes() if k % 4 else b"no sound"
            statuses.append(client.post("/api/predict", content=body).status_code)

    threads = [threading.Thread(target=request_once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = client.get("/metrics").text
    for status in (200, 422):
        assert f'{{method="POST",route="/api/predict",status="{status}"}} {statuses.count(status)}.0' in text
    assert client.get("/api/metrics").json()["total_predictions"] == statuses.count(200)
    assert json.loads(json.dumps(client.get("/api/metrics").json()))["average_confidence"] == pytest.approx(0.75)
    client.request("FOO", "/")
    assert "FOO" not in client.get("/metrics").text
