"""Reviews: six verdicts everywhere, written once, taken back, and never silently replaced by another person's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2 as httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.fixtures.machines import Postgres
from tests.fixtures.server import NO_AUTHORITIES, running
from tests.fixtures.uploads import store_samples

from dawnchorus.formats.registry import FORMATS
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings

V1 = "/api/v1"

Person = Callable[[], httpx.Client]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.ops)])
def server(
    request: pytest.FixtureRequest, level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        is_shared = request.param == "postgresql"
        database = stack.enter_context(Postgres(folder / "postgres")).url if is_shared else None
        settings = Settings(model=level_bundle.folder, data=folder / "data", database=database)
        yield stack.enter_context(running(settings))


@pytest.fixture
def person(server: httpx.Client) -> Iterator[Person]:
    """A function that opens the page Review in a browser of its own."""
    opened: list[httpx.Client] = []

    def open_browser() -> httpx.Client:
        browser = httpx.Client(base_url=server.base_url, timeout=60, verify=NO_AUTHORITIES)
        opened.append(browser)
        browser.get("/review").raise_for_status()
        return browser

    yield open_browser
    for each in opened:
        each.close()


@pytest.fixture
def base(server: httpx.Client) -> Iterator[str]:
    """Path of a recording with detections of both species of the model, a second apart; deleted afterwards."""
    rng = np.random.default_rng()
    levels = np.repeat([0.1, 0.9, 0.9, 0.1, 0.9], 8_000) + rng.uniform(0, 1e-3, 40_000)
    path = store_samples(server, levels, 8_000)
    yield path
    server.delete(path)


def rows_of(client: httpx.Client, base: str, **query: Any) -> list[dict[str, Any]]:
    reply: list[dict[str, Any]] = client.get(f"{base}/timeline", params=query).json()["detections"]
    return reply


def answer(client: httpx.Client, number: int, verdict: str, **more: Any) -> httpx.Response:
    return client.put(f"{V1}/detections/{number}/review", json={"verdict": verdict, **more})


def listed_species(client: httpx.Client, base: str) -> dict[str, int]:
    """Return the numbers of detections by species, as the list of recordings has them."""
    (row,) = [row for row in client.get(f"{V1}/recordings").json()["recordings"] if row["sha256"] == base[-64:]]
    return {each["common_name"]: each["n_detections"] for each in row["species"]}


def n_labeled(client: httpx.Client) -> dict[str, int]:
    rows = client.get(f"{V1}/training-data").json()["species"]
    return {row["common_name"]: row["n_recordings"] for row in rows}


def test_each_verdict_is_stored_filtered_and_becomes_training_data_as_it_says(server: httpx.Client, base: str) -> None:
    rows = rows_of(server, base)
    assert len(rows) >= 6
    before = n_labeled(server)
    numbers = [row["id"] for row in rows]
    verdicts = ("correct", "incorrect", "several", "unsure", "none")
    for number, verdict in zip(numbers, verdicts, strict=False):
        reply = answer(server, number, verdict)
        assert (reply.status_code, reply.json()["verdict"]) == (200, verdict)
    answer(server, numbers[5], "relabeled", species="Avis nova_New Bird", new_class=True).raise_for_status()
    for number, verdict in zip(numbers, (*verdicts, "relabeled"), strict=False):
        assert [row["id"] for row in rows_of(server, base, reviewed=verdict)] == [number]
        listed = server.get(f"{V1}/detections", params={"recording": base[-64:], "reviewed": verdict}).json()
        assert [row["id"] for row in listed["detections"]] == [number]
        words = {"relabeled": "another species", "several": "several species", "none": "nothing there"}
        cell = f'<td data-label="reviewed">{words.get(verdict, verdict)}</td>'
        assert server.get(f"/detections?reviewed={verdict}").text.count(cell) == 1
    gained = {name: n - before.get(name, 0) for name, n in n_labeled(server).items() if n != before.get(name, 0)}
    assert gained == {rows[0]["common_name"]: 1, "no species, or unknown": 2, "New Bird": 1}
    description = server.get("/api/openapi.json").json()["components"]["schemas"]["ReviewRequest"]["properties"]
    assert description["verdict"]["enum"] == ["correct", "incorrect", "relabeled", "several", "unsure", "none"]


def test_corrected_species_are_in_lists_filters_counts_and_downloads(server: httpx.Client, base: str) -> None:
    rows = rows_of(server, base)
    wrong = [row for row in rows if row["common_name"] == "Loud Bird"]
    others = [row for row in rows if row["common_name"] != "Loud Bird"]
    before = listed_species(server, base)
    assert before["Loud Bird"] == len(wrong)
    answer(server, wrong[0]["id"], "relabeled", species="Avis nova_New Bird", new_class=True).raise_for_status()
    (row,) = rows_of(server, base, species="new bird")
    assert (row["id"], row["model_common_name"], row["scientific_name"]) == (wrong[0]["id"], "Loud Bird", "Avis nova")
    assert wrong[0]["id"] not in [row["id"] for row in rows_of(server, base, species="loud")]
    assert listed_species(server, base) == before | {"Loud Bird": len(wrong) - 1, "New Bird": 1}
    assert server.get(f"{V1}/recordings?species=new+bird").json()["total"] == 1
    activity = server.get(f"{base}/activity").json()["species"]
    assert {each["common_name"]: each["n_detections"] for each in activity} == listed_species(server, base)
    for page in (base.removeprefix(V1), "/detections"):
        assert "(model: Loud Bird)" in server.get(page).text
    for other in wrong[1:]:
        answer(server, other["id"], "incorrect").raise_for_status()
    answer(server, others[0]["id"], "unsure").raise_for_status()
    assert listed_species(server, base) == {"Quiet Bird": len(others), "New Bird": 1}
    for output in FORMATS:
        table = server.get(f"{base}/detections", params={"format": output}).content
        text = str(pq.read_table(io.BytesIO(table)).to_pylist()) if output == "parquet" else table.decode()
        assert "Avis nova" in text or "New Bird" in text, output
        assert not re.search("Avis magna|Loud Bird", text), output
    for output, line in (("csv", "relabeled"), ("raven", "relabeled"), ("jsonl", '"verdict": "unsure"')):
        assert line in server.get(f"{base}/detections", params={"format": output}).text


def test_an_answer_that_is_sent_twice_is_written_once(person: Person, base: str) -> None:
    browser = person()
    number = rows_of(browser, base)[0]["id"]
    first, second = (answer(browser, number, "correct").json() for _ in range(2))
    assert first == second
    assert browser.post(f"{V1}/reviews/undo", json={}).json()["undoable"] is None
    for _ in range(2):
        assert browser.delete(f"{V1}/detections/{number}/review").status_code == 204
    assert browser.delete(f"{V1}/detections/999999/review").status_code == 404
    assert rows_of(browser, base)[0]["review"] is None


def test_an_answer_to_a_detection_of_another_recording_is_refused(person: Person, base: str) -> None:
    browser = person()
    number = rows_of(browser, base)[0]["id"]
    review = f"{V1}/detections/{number}/review"
    for sha256, status in (("0" * 64, 404), (base[-64:], 200)):
        assert answer(browser, number, "unsure", recording=sha256).status_code == status
    for sha256, status in (("0" * 64, 404), (base[-64:], 204)):
        assert browser.delete(review, params={"recording": sha256}).status_code == status
    assert rows_of(browser, base)[0]["review"] is None


def test_answers_are_taken_back_one_by_one_also_in_a_later_visit(person: Person, base: str) -> None:
    browser = person()
    rows = rows_of(browser, base)
    one, two = rows[0]["id"], rows[1]["id"]
    before, species = n_labeled(browser), listed_species(browser, base)
    answer(browser, one, "correct")
    answer(browser, two, "relabeled", species="Avis nova_New Bird", new_class=True)
    browser.delete(f"{V1}/detections/{one}/review")
    last = answer(browser, one, "none").json()["answer"]
    browser.get("/review").raise_for_status()
    states = []
    for _ in range(4):
        undone = browser.post(f"{V1}/reviews/undo", json={"answer": last}).json()
        again = browser.post(f"{V1}/reviews/undo", json={"answer": last}).json()
        assert again == undone, "it is taken back once"
        states.append((undone["detection"]["id"], undone["answer"]["verdict"], undone["detection"]["verdict"]))
        last = undone["undoable"]
    assert states == [(one, "none", None), (one, None, "correct"), (two, "relabeled", None), (one, "correct", None)]
    assert last is None
    assert (n_labeled(browser), listed_species(browser, base)) == (before, species)
    refused = browser.post(f"{V1}/reviews/undo", json={})
    assert (refused.status_code, "that can be taken back" in refused.json()["detail"]) == (404, True)


def test_nobody_replaces_an_answer_that_was_not_seen(person: Person, base: str) -> None:
    first, second = person(), person()
    number = rows_of(first, base)[0]["id"]
    given = answer(first, number, "incorrect", replaces=0).json()
    assert answer(first, number, "unsure", replaces=0).status_code == 200, "one's own"
    given = answer(first, number, "incorrect", replaces=given["answer"]).json()
    refused = answer(second, number, "correct", replaces=0)
    assert refused.status_code == 409
    assert "somebody else answered 'incorrect' since" in refused.json()["detail"]
    assert refused.json()["current"]["answer"] == given["answer"]
    assert second.delete(f"{V1}/detections/{number}/review", params={"replaces": 0}).status_code == 409
    assert rows_of(first, base)[0]["verdict"] == "incorrect"
    agreed = answer(second, number, "incorrect", replaces=0)
    assert agreed.status_code == 200, "the same answer"
    assert second.post(f"{V1}/reviews/undo", json={}).json()["detection"]["verdict"] == "incorrect"
    assert answer(second, number, "correct", replaces=given["answer"]).status_code == 200, "it was seen"
    refused = first.post(f"{V1}/reviews/undo", json={"answer": given["answer"]})
    assert (refused.status_code, refused.json()["current"]["verdict"]) == (409, "correct")
    assert first.post(f"{V1}/reviews/undo", json={}).status_code == 404
    program = httpx.put(
        f"{first.base_url}{V1}/detections/{number}/review",
        json={"verdict": "none", "replaces": 0},
        verify=NO_AUTHORITIES,
    )
    assert program.status_code == 409


def test_answers_stay_with_their_detections_when_a_recording_is_identified_again(person: Person, base: str) -> None:
    browser = person()
    rows = rows_of(browser, base)
    answer(browser, rows[0]["id"], "relabeled", species="Avis nova_New Bird", new_class=True)
    answer(browser, rows[1]["id"], "none")
    audio = browser.get(f"{base}/audio").content
    again = browser.post(f"{V1}/identify?store=true&min_score=0.01&merge=false", content=audio)
    assert again.status_code == 200
    new = rows_of(browser, base)
    assert not {row["id"] for row in new} & {row["id"] for row in rows}
    assert [row["verdict"] for row in new[:3]] == ["relabeled", "none", None]
    assert (new[0]["common_name"], new[0]["model_common_name"]) == ("New Bird", rows[0]["common_name"])
    assert listed_species(browser, base)["New Bird"] == 1
    undone = [browser.post(f"{V1}/reviews/undo", json={}).json()["detection"] for _ in range(2)]
    assert [(each["id"], each["common_name"]) for each in undone] == [
        (new[1]["id"], rows[1]["common_name"]),
        (new[0]["id"], rows[0]["common_name"]),
    ]


def test_an_answer_of_a_page_that_is_older_than_the_result_counts(person: Person, base: str) -> None:
    browser, other = person(), person()
    rows = rows_of(browser, base)
    audio = browser.get(f"{base}/audio").content
    browser.post(f"{V1}/identify?store=true&min_score=0.01&merge=false", content=audio).raise_for_status()
    first = answer(browser, rows[0]["id"], "unsure", replaces=0)
    new = rows_of(browser, base)
    assert [row["verdict"] for row in new[:3]] == ["unsure", None, None]
    assert answer(browser, rows[0]["id"], "unsure", replaces=0).json() == first.json(), "sent twice"
    assert answer(other, rows[0]["id"], "none", replaces=0).status_code == 409
    assert answer(other, new[0]["id"], "none", replaces=0).status_code == 409
    assert browser.post(f"{V1}/reviews/undo", json={}).json()["detection"]["id"] == new[0]["id"]
