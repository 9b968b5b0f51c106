"""Errors as pages: headed by what happened, with a next step; addresses with odd values keep their page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import httpx2 as httpx
import pytest
from sqlalchemy.exc import OperationalError
from tests.fixtures.server import Serve, running

from dawnchorus.errors import OverloadedError
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.history import DetectionStore
from dawnchorus.server.http.error_handlers import _STATUS, MEDIA_TYPE
from dawnchorus.server.http.error_pages import describe_error
from dawnchorus.server.settings import Role, Settings

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def browser(level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client that asks for pages, of one server for all tests of this module."""
    folder = tmp_path_factory.mktemp("errors")
    with running(Settings(data=folder / "server", model=level_bundle.folder)) as client:
        client.headers.update(BROWSER)
        yield client


def heading(reply: httpx.Response) -> str:
    assert reply.headers["content-type"].startswith("text/html"), reply.text[:200]
    match = re.search("<h1>(.*?)</h1>", reply.text)
    assert match is not None
    return match[1]


@pytest.mark.parametrize(
    ("path", "status", "title", "link"),
    [
        ("/nothing", 404, "Page not found", "/recordings"),
        ("/overview/", 404, "Page not found", "/"),
        (f"/recordings/{'0' * 64}", 404, "Recording not found", "/recordings"),
        ("/recordings/cut-link", 404, "Recording not found", "/recordings"),
        (f"/jobs/{'0' * 32}", 404, "Job not found", "/system"),
        ("/a%00b", 400, "This request cannot be used", "/"),
    ],
)
def test_what_is_not_there_is_said_with_a_next_step(
    browser: httpx.Client, path: str, status: int, title: str, link: str
) -> None:
    reply = browser.get(path)
    assert (reply.status_code, heading(reply)) == (status, title)
    assert f'<a class="button" href="{link}">' in reply.text
    assert 'role="alert"' in reply.text
    assert browser.get(path, headers={"Accept": "application/json"}).headers["content-type"] == MEDIA_TYPE


def test_other_methods_and_forms_get_pages_too(browser: httpx.Client, level_bundle: Bundle, serve: Serve) -> None:
    reply = browser.post("/recordings")
    assert (reply.status_code, heading(reply)) == (405, "This address cannot be used like that")
    assert reply.headers["allow"] == "GET"
    reply = browser.post("/", files={"audio": ("x.wav", b"x")}, data={"lat": "north"})
    assert (reply.status_code, heading(reply)) == (422, "Identify birds in recordings")
    assert "lat: Input should be a valid number" in reply.text
    client = serve(model=level_bundle.folder, limits=Limits(max_bytes=1000))
    reply = client.post("/", files={"audio": ("x.wav", bytes(5000))}, headers=BROWSER)
    assert (reply.status_code, heading(reply)) == (413, "Identify birds in recordings")
    assert 'role="alert"' in reply.text


def test_a_fault_or_a_full_queue_is_a_page_that_says_when_to_come_again(
    browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, status, title, retry_after in (
        (RuntimeError("secret"), 500, "The server failed", None),
        (OperationalError("secret", {}, Exception("secret")), 503, "The server is busy", "2"),
        (OverloadedError("the queue is full.", retry_after_s=7), 503, "The server is busy", "7"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(DetectionStore, "get_recording", Mock(side_effect=error))
            reply = browser.get(f"/recordings/{'0' * 64}")
        assert (reply.status_code, heading(reply)) == (status, title)
        assert reply.headers.get("retry-after") == retry_after
        assert "secret" not in reply.text
        assert re.search(r"Id in the server's log: <code>\w{12}</code>", reply.text)
        assert '<a class="button" href="">Try again</a>' in reply.text
        assert (f"Try again in {retry_after} s." in reply.text) == (retry_after is not None)


def test_a_forbidden_role_gets_a_message(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={"one-for-identifying": Role.IDENTIFY})
    reply = client.get("/recordings", headers={**BROWSER, "Authorization": "Bearer wrong"})
    assert (reply.status_code, heading(reply)) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("path", "note"),
    [
        ("?d=999999", "d: there is no detection 999999 in the recording"),
        ("?after=999999&order=score", "after: there is no detection 999999"),
        ("?t=-5", "t: Input should be greater than or equal to 0, got '-5'."),
        ("?t=nan", "t: Input should be"),
        ("?zoom=0&min_score=high", "min_score: Input should be a valid number"),
        ("?reviewed=odd", "reviewed: Input should be 'correct', 'incorrect'"),
        ("?species=%00", "species: expected no NUL character."),
        ("?t=1&t=2", "t: expected one value, got '1' and '2'."),
        ("?tt=5", "'tt': this page has no such parameter. Did you mean 't'?"),
    ],
)
def test_odd_values_keep_the_page_of_a_recording(browser: httpx.Client, tone: Path, path: str, note: str) -> None:
    stored = browser.post(
        "/api/v1/identify?store=true&merge=true", files={"audio": ("a tone.wav", tone.read_bytes())}
    ).json()
    reply = browser.get(f"/recordings/{stored['sha256']}{path}")
    assert (reply.status_code, "a tone.wav" in heading(reply)) == (200, True)
    assert note in reply.text.replace("&#39;", "'")
    assert "Quiet Bird" in reply.text


@pytest.mark.parametrize(
    ("path", "note"),
    [
        ("/recordings?cursor=x", "cursor: expected `next` or `previous` of this list, got 'x'."),
        ("/recordings?state=odd", "state: Input should be 'detections', 'no_detections' or 'failed', got 'odd'."),
        ("/recordings?recorded_from=tomorrow&cursor=", "recorded_from: Input should be a valid date"),
        ("/detections?reviewed=odd", "reviewed: Input should be 'correct', 'incorrect'"),
        ("/detections?min_score=7", "min_score: Input should be less than or equal to 1, got '7'."),
        ("/detections?fbclid=x", "'fbclid': this page has no such parameter."),
        ("/overview?period=decade&min_score=0.3", "min_score: expected one of 0, 0.25, 0.5, 0.75, 0.9"),
        ("/overview?to=2026-02-30", "to: Input should be a valid date"),
        ("/?lat=1", "'lat': this page has no such parameter."),
        ("/system?%00=%00", "this page has no such parameter."),
        ("/login?next=/", "'next': this page has no such parameter."),
    ],
)
def test_odd_values_keep_the_other_pages(browser: httpx.Client, path: str, note: str) -> None:
    reply = browser.get(path)
    assert reply.status_code == 200
    assert note in reply.text.replace("&#39;", "'")
    assert "cursor=x" not in reply.text
    assert "Not all of this address can be used:" in reply.text


def test_old_addresses_lead_to_the_new_ones(browser: httpx.Client) -> None:
    for old, new in (("/teach", "/training"), ("/history", "/detections")):
        reply = browser.get(old)
        assert (reply.status_code, reply.headers["location"]) == (303, new)


def test_every_status_of_an_error_has_its_text() -> None:
    texts = {status: describe_error(status, "/x") for _, status in _STATUS}
    assert all(text.heading != status.phrase and text.links for status, text in texts.items())
