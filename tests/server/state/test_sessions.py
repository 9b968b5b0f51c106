"""Sessions end by age, by logging out, or with their token, on every server of the database."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx2 as httpx
import itsdangerous
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from tests.fixtures.databases import new_database
from tests.fixtures.server import Serve

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Role
from dawnchorus.server.state.sessions import SessionStore
from dawnchorus.server.state.tables import EndedSession

MAX_AGE_S = 3600
TOKENS = ("the-operators-one", "one-for-identifying")


def at(monkeypatch: pytest.MonkeyPatch, age_s: float) -> None:
    """Write cookies as of so many seconds ago."""
    stamp = int(time.time() - age_s)
    monkeypatch.setattr(itsdangerous.TimestampSigner, "get_timestamp", lambda _signer: stamp)


def test_a_cookie_is_of_one_session_one_token_and_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = new_database(tmp_path)
    one, other = (SessionStore(database, TOKENS, max_age_s=MAX_AGE_S) for _ in range(2))
    at(monkeypatch, MAX_AGE_S + 60)
    old = one.start(TOKENS[0])
    at(monkeypatch, MAX_AGE_S - 60)
    first, second = one.start(TOKENS[0]), one.start(TOKENS[0])
    monkeypatch.undo()
    assert first != second
    assert one.find(old) is None
    session = other.find(first)
    assert session is not None
    assert (session.token, TOKENS[0] in first) == (TOKENS[0], False)
    assert session.csrf != (other.find(second) or session).csrf
    assert SessionStore(database, TOKENS[1:], max_age_s=MAX_AGE_S).find(first) is None, (
        "a token that is taken back ends its sessions"
    )
    for forged in ("", "é", "\0", first[:-1], first.replace(".", "", 1), first.rpartition(".")[0], old[:9] + first[9:]):
        assert one.find(forged) is None, forged

    one.end(session)
    one.end(session)
    assert other.find(first) is None
    assert other.find(second) is not None
    SessionStore(database, TOKENS, max_age_s=-1).end(session)
    with database.read() as rows:
        assert not rows.scalars(select(EndedSession)).all(), "what nobody can send any more is forgotten"
    database.close()


def test_logout_ends_the_session_on_the_server(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={TOKENS[0]: Role.ADMIN})
    cookies = [log_in(client) for _ in range(2)]
    assert cookies[0] != cookies[1]
    assert [status(client, cookie) for cookie in cookies] == [200, 200]
    csrf = re.search(r'data-csrf="(\w+)"', client.get("/", headers={"Cookie": cookies[0]}).text)
    assert csrf is not None
    logout = {"headers": {"Cookie": cookies[0]}, "data": {"csrf": csrf[1]}}
    assert client.post("/logout", **logout).headers["location"] == "/login"
    assert [status(client, cookie) for cookie in cookies] == [401, 200], "who copied the cookie is out as well"
    assert client.post("/logout", **logout).status_code == 303, "once more, from another tab"


def test_a_wrong_token_starts_no_session(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder, tokens={TOKENS[0]: Role.ADMIN})
    cookie = log_in(client)
    for headers in ({}, {"Cookie": cookie}):
        reply = client.post("/login", data={"token": "a-wrong-one"}, headers=headers)
        assert (reply.status_code, "set-cookie" in reply.headers) == (401, False), "also of who is logged in"
    without_tokens = serve(model=level_bundle.folder, data=tmp_path / "open")
    assert without_tokens.post("/login", data={"token": "any"}).status_code == 401


def test_sessions_that_cannot_be_looked_up_are_for_the_next_try(
    level_bundle: Bundle, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(model=level_bundle.folder, tokens={TOKENS[0]: Role.ADMIN})
    cookie = log_in(client)
    with monkeypatch.context() as patch:
        patch.setattr(SessionStore, "find", lambda *_: (_ for _ in ()).throw(OperationalError("", {}, Exception())))
        reply = client.get("/api/v1/recordings", headers={"Cookie": cookie})
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
        assert "database cannot be reached" in reply.json()["detail"]
        bearer = {"Authorization": f"Bearer {TOKENS[0]}"}
        assert client.get("/api/v1/health/live", headers=bearer).status_code == 200, "programs need no session"
    assert status(client, cookie) == 200


def log_in(client: httpx.Client) -> str:
    """Log in, and return the Cookie header."""
    reply = client.post("/login", data={"token": TOKENS[0]})
    client.cookies.clear()
    return reply.headers["set-cookie"].partition(";")[0]


def status(client: httpx.Client, cookie: str) -> int:
    return client.get("/api/v1/recordings", headers={"Cookie": cookie}).status_code
