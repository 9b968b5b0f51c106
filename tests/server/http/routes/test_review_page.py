"""The page Review without scripts: its forms answer, skip and take back; what does not work is said."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2 as httpx
import numpy as np
import pytest
from tests.fixtures.server import running
from tests.fixtures.uploads import store_samples

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings

V1 = "/api/v1"


@pytest.fixture
def browser(level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(Settings(model=level_bundle.folder, data=tmp_path_factory.mktemp("server"))) as client:
        store_samples(client, np.repeat([0.1, 0.3, 0.8], 8_000), 8_000)
        client.follow_redirects = True
        yield client


def fields_of(page: str, form: str) -> dict[str, str]:
    """Return the hidden fields of one of the page's forms."""
    match = re.search(rf"<form [^>]*{form}>.*?</form>", page, re.DOTALL)
    assert match is not None
    inputs = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', match[0])
    return {name: value for name, value in inputs if value}


def send(browser: httpx.Client, page: str, verdict: str, **more: str) -> httpx.Response:
    return browser.post("/review", data={**fields_of(page, "data-verdicts"), "verdict": verdict, **more})


def shown(page: str) -> int:
    match = re.search(r'data-review="(\d+)"', page)
    return int(match[1]) if match else 0


def test_each_answer_shows_the_next_clip_and_can_be_taken_back(browser: httpx.Client) -> None:
    rows = browser.get(f"{V1}/reviews/queue").json()["detections"]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    page = browser.get("/review").text
    seen = []
    for verdict in ("correct", "skip", "unsure", "several", "none"):
        seen.append(shown(page))
        page = send(browser, page, verdict).text
    assert seen == [row["id"] for row in rows[:5]]
    browser.get("/")
    page = browser.get("/review").text
    assert shown(page) == seen[1], "what was skipped comes again"
    for number in (seen[4], seen[3]):
        reply = browser.post("/review/undo", data=fields_of(page, "data-undo"))
        assert (reply.status_code, shown(reply.text)) == (200, number)
        page = reply.text
    reviews = {row["id"]: row["verdict"] for row in browser.get(f"{V1}/detections").json()["detections"]}
    assert [reviews[number] for number in seen] == ["correct", None, "unsure", None, None]
    page = send(browser, browser.get(f"/review?d={rows[5]['id']}").text, "incorrect").text
    assert "Nothing left in this queue." in page
    assert "Start again with what was skipped" in page


def test_another_species_and_unknown_names(browser: httpx.Client) -> None:
    page = browser.get("/review").text
    number = shown(page)
    reply = send(browser, page, "relabeled", species="Avis mgna")
    assert (reply.status_code, shown(reply.text)) == (400, number)
    assert "Did you mean Avis magna (Loud Bird)?" in reply.text
    assert 'value="Avis mgna"' in reply.text, "what was typed stays"
    assert re.search(r"<label data-new-class><input", reply.text)
    reply = send(browser, reply.text, "relabeled", species="Avis mgna", new_class="true")
    assert (reply.status_code, shown(reply.text) != number) == (200, True)
    assert browser.get(f"{V1}/detections?species=mgna").json()["total"] == 1
    for wrong in ({"verdict": "maybe"}, {"detection": "x"}):
        assert browser.post("/review", data={**fields_of(page, "data-verdicts"), **wrong}).status_code == 422
    assert browser.post("/review", data={"vote": "correct"}).status_code == 400


def test_another_persons_answer_and_a_deleted_clip_are_said(browser: httpx.Client) -> None:
    page = browser.get("/review").text
    number = shown(page)
    other = httpx.put(f"{browser.base_url}{V1}/detections/{number}/review", json={"verdict": "incorrect"})
    assert other.status_code == 200
    reply = send(browser, page, "correct")
    assert (reply.status_code, shown(reply.text)) == (409, number)
    assert "somebody else answered &#39;incorrect&#39; since. Yours was not saved." in reply.text
    assert send(browser, reply.text, "correct").status_code == 200, "it was seen"
    page = browser.get("/review").text
    recording = browser.get(f"{V1}/recordings").json()["recordings"][0]["sha256"]
    browser.delete(f"{V1}/recordings/{recording}").raise_for_status()
    store_samples(browser, np.repeat([0.2, 0.4], 8_000), 8_000)
    reply = send(browser, page, "correct")
    assert (reply.status_code, shown(reply.text) > 0) == (404, True)
    assert "This detection was deleted while it was reviewed" in reply.text
    assert browser.get(f"/review?d={number}").status_code == 200, "the next one in its place"
    noted = browser.get("/review?after=nonsense")
    assert (noted.status_code, shown(noted.text) > 0) == (200, True)
    assert "nonsense" in noted.text


def test_the_page_of_a_recording_has_the_same_forms(browser: httpx.Client) -> None:
    recording = browser.get(f"{V1}/recordings").json()["recordings"][0]["sha256"]
    page = browser.get(f"/recordings/{recording}")
    number = shown(page.text)
    reply = send(browser, page.text, "incorrect")
    assert str(reply.url).endswith(f"/recordings/{recording}?d={number}")
    assert re.search(r'value="incorrect"[^>]* aria-pressed="true"', reply.text)
    assert "and 1 incorrect" in reply.text, "the species table leaves it out"
    reply = browser.post("/review/undo", data=fields_of(reply.text, "data-undo"))
    assert str(reply.url).endswith(f"/recordings/{recording}?d={number}")
    assert 'aria-pressed="true"' not in reply.text
