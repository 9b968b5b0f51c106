"""Rights come from settings and tokens, not from what a request says of itself."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx2 as httpx
import pytest
from tests.fixtures.server import Serve

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle
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
