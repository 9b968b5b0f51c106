"""Tokens, roles, sessions, origins and hosts: rights that a request has."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx2 as httpx
import pytest
from tests.fixtures.server import Serve

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.app import create_app
from dawnchorus.server.http.auth import RateLimiter, find_role
from dawnchorus.server.service import open_service
from dawnchorus.server.settings import Role, Settings

TOKEN = "operator-secret"  # noqa: S105 - of these tests


def request_once(client: httpx.Client, target: str, *headers: str) -> int:
    """Return the status of a GET whose request line and headers are sent as they are."""
    lines = "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", *headers, "Connection: close"))
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as connection:
        connection.sendall(f"{lines}\r\n".encode("latin-1"))
        return int(connection.makefile("rb").readline().split()[1])


OTHER_NAMES = [
    ("/api/v1/models", "Host: evil.example.org"),
    ("/api/v1/models", "Host: evil_name.example.org"),  # no valid name, but browsers resolve it
    ("/api/v1/models", "Host: localhost.evil.example.org"),
    ("/api/v1/models", "Host: evil.example.org:localhost"),
    ("/api/v1/models", "Host: evil.example.org@127.0.0.1"),
    ("/api/v1/models", "Host: 127.0.0.1/@evil.example.org"),
    ("/api/v1/models", "Host: [127.0.0.1"),
    ("/api/v1/models", "Host: 127.0.0.1, evil.example.org"),
    ("/api/v1/models", "Host:"),
    ("/api/v1/models",),
    ("/api/v1/models", "Host: evil.example.org", "X-Forwarded-Host: localhost", "X-Forwarded-For: 127.0.0.1"),
    ("/api/v1/models", "Host: evil.example.org", "Forwarded: for=127.0.0.1;host=localhost"),
    ("http://localhost/api/v1/models", "Host: evil.example.org"),
    ("//localhost/../api/v1/models", "Host: evil.example.org"),
    ("/api/v1/models?x=//localhost/", "Host: evil.example.org"),
    ("//localhost/api/v1/health/live", "Host: evil.example.org"),
]


@pytest.mark.parametrize("request_lines", OTHER_NAMES, ids=" ".join)
def test_nothing_in_a_request_for_another_name_makes_it_local(
    request_lines: tuple[str, ...], level_bundle: Bundle, serve: Serve
) -> None:
    client = serve(model=level_bundle.folder)
    assert request_once(client, *request_lines) in (400, 421)


def test_a_server_without_tokens_knows_its_own_names(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, host="127.0.0.2")
    for name in ("localhost", "LOCALHOST:5000", "127.0.0.1", "[::1]:80", "127.0.0.2:5000"):
        assert request_once(client, "/api/v1/models", f"Host: {name}") == 200, name
    assert request_once(client, "//evil.example.org/../api/v1/models", "Host: localhost") == 404
    # Load balancers and probes ask by any name, for what needs no right.
    assert request_once(client, "/api/v1/health/live", "Host: probe.example.org") == 200
    refused = client.get("/api/v1/models", headers={"Host": "evil.example.org"})
    assert refused.headers["content-type"] == "application/problem+json"
    assert "127.0.0.2" in refused.json()["detail"]


def test_local_names_and_addresses_are_no_token(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={TOKEN: Role.ADMIN}, trusted_proxy="127.0.0.1")
    for target in ("/api/v1/models", "http://localhost/api/v1/models", "/api/v1/models?host=localhost"):
        for said in ("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost", "Forwarded: for=127.0.0.1"):
            assert request_once(client, target, "Host: localhost", said) == 401, (target, said)
    assert request_once(client, "//localhost/api/v1/models", "Host: localhost") in (401, 404)
    assert request_once(client, "/api/v1/models", "Host: birds.example.org", f"Authorization: Bearer {TOKEN}") == 200


def test_a_proxy_lets_others_in_so_it_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--trusted-proxy 127.0.0.1: .* a token is needed"):
        Settings(data=tmp_path, trusted_proxy="127.0.0.1")


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
        "GET /api/v1/reviews/queue",
        *("GET /recordings", "GET /detections", "GET /api/v1/species", "GET /api/v1/sites"),
        *("GET /overview", "GET /teach", "GET /api/v1/overview", "GET /api/v1/overview/events"),
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
            "POST /api/v1/recordings/download",
            "POST /api/v1/recordings/{sha256}/identify",
        ),
        *("GET /v2", "GET /v2/models/{name}", "GET /v2/models/{name}/ready", "POST /v2/models/{name}/infer"),
        *("GET /v2/models/{name}/versions/{version}", "GET /v2/models/{name}/versions/{version}/ready"),
        "POST /v2/models/{name}/versions/{version}/infer",
    },
    Role.TRAIN: {
        *("GET /api/v1/jobs/{job_id}/log", "POST /api/v1/jobs/{job_id}/cancel", "POST /api/v1/jobs/{job_id}/restart"),
        "POST /api/v1/training-data",
        *("POST /api/v1/retrain", "POST /api/trigger_retrain", "POST /api/upload_bulk", "POST /api/v1/models/compare"),
        *("PUT /api/v1/detections/{number}/review", "DELETE /api/v1/detections/{number}/review"),
        *("POST /api/v1/reviews/undo", "POST /review", "POST /review/undo"),
    },
    Role.ADMIN: {
        *("DELETE /api/v1/jobs/{job_id}", "DELETE /api/v1/recordings/{sha256}", "POST /api/v1/recordings/delete"),
        *("POST /api/v1/models/rollback", "POST /api/v1/models/{bundle_id}/activate"),
    },
}
"""Every route is named here with what it asks for; a new one fails the test until it is."""

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
        assert "a=b" not in response.headers.get("set-cookie", "")
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


def test_secrets_appear_in_no_reply_or_log(
    level_bundle: Bundle, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    token = "a-secret-nobody-may-see"  # noqa: S105 - of this test
    client = serve(model=level_bundle.folder, tokens={token: Role.ADMIN})
    client.headers["Authorization"] = f"Bearer {token}"
    pages = (
        "/",
        "/overview",
        "/system",
        "/metrics",
        "/api/metrics",
        "/api/health",
        "/api/openapi.json",
        "/docs",
        "/models",
    )
    for page in pages:
        assert token not in client.get(page).text
    client.get("/api/v1/jobs/x")
    assert token not in caplog.text


def test_token_is_required_except_for_health_checks(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={"operator-secret": Role.ADMIN})
    assert client.get("/api/v1/health/live").status_code == 200
    for path in ("/api/health", "/api/metrics", "/metrics", "/docs", "/api/openapi.json", "/api/v1/recordings"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        reply = client.get(path, headers={"Authorization": "Bearer operator-secret"})
        assert reply.status_code == 200
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert client.post("/api/predict", content=b"x").status_code == 401


def test_every_route_requires_a_token_unless_listed(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={"operator-secret": Role.ADMIN})
    paths = client.get("/api/openapi.json", headers={"Authorization": "Bearer operator-secret"}).json()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert len(routes) >= 7
    answered = {(m, p) for m, p in routes if client.request(m, p).status_code != 401}
    assert answered == {("GET", f"{base}/health/{what}") for base in ("/api/v1", "/v2") for what in ("live", "ready")}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example.org"}, 421),
        ({"Host": "evil.example.org", "Sec-Fetch-Site": "same-origin"}, 421),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:80"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(
    headers: dict[str, str], status: int, level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    assert client.post("/api/predict", content=tone.read_bytes(), headers=headers).status_code == status


def test_a_share_of_less_than_one_in_a_while_is_a_share() -> None:
    now = [100.0]
    limiter = RateLimiter(per_s=0.05, burst=0.25, clock=lambda: now[0])
    assert limiter.acquire("a") == 0
    assert limiter.acquire("a") == pytest.approx(20)
    assert limiter.acquire("b") == 0
    now[0] += 19
    assert limiter.acquire("a") == pytest.approx(1)
    now[0] += 1.5
    assert limiter.acquire("a") == 0
    assert limiter.acquire("a") > 19


def test_a_burst_is_given_back_over_time() -> None:
    now = [0.0]
    limiter = RateLimiter(per_s=2.0, burst=10, clock=lambda: now[0])
    assert [limiter.acquire("a") > 0 for _ in range(12)] == [False] * 10 + [True] * 2
    now[0] += 1.1
    assert [limiter.acquire("a") > 0 for _ in range(3)] == [False, False, True]


def test_rate_limit_per_client(level_bundle: Bundle, serve: Serve, clip: bytes) -> None:
    client = serve(model=level_bundle.folder, requests_per_s=1e-3)
    replies = [client.post("/api/predict", content=clip) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 429]
    assert 900 <= int(replies[-1].headers["Retry-After"]) <= 1000
    # What a client says of where it comes from is not believed, unless a proxy was named.
    forwarded = client.post("/api/predict", content=clip, headers={"X-Forwarded-For": "10.1.2.3", "Forwarded": "for=x"})
    assert forwarded.status_code == 429
    assert client.get("/api/health").status_code == 200
