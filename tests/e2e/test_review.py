"""The page Review in a real browser: keys, undo, two people, deleted clips, names, a phone, and no scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from tests.fixtures.long_recordings import store_long_recording, write_long_recording
from tests.fixtures.server import running_service
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings

pytestmark = pytest.mark.ops

V1 = "/api/v1"

REVIEW = re.compile(r"/api/v1/detections/\d+/review")

EXPECTED = ("status of 400", "status of 404", "status of 409", "net::ERR_FAILED")
"""Chromium's words for requests that are refused on purpose."""


@pytest.fixture
def client(level_bundle: Bundle, tmp_path: Path) -> Iterator[httpx.Client]:
    """A server with twelve clips of a recording to review."""
    path = tmp_path / "SITE7 twelve clips.flac"
    write_long_recording(path, duration_s=120)
    with running_service(Settings(model=level_bundle.folder, data=tmp_path / "server")) as (opened, service):
        store_long_recording(service, path, duration_s=120, n_detections=12)
        yield opened


@pytest.fixture
def context(browser: Browser, client: httpx.Client) -> Iterator[BrowserContext]:
    """A browser in whose pages no script fails and nothing is blocked."""
    opened = browser.new_context(base_url=str(client.base_url), viewport={"width": 1280, "height": 900})
    wrong: list[str] = []
    opened.on("weberror", lambda error: wrong.append(str(error.error)))
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield opened
    opened.close()
    assert not [text for text in wrong if not any(each in text for each in EXPECTED)]


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """The page Review, with its first clip."""
    opened = context.new_page()
    opened.goto("/review")
    return opened


def queue_of(client: httpx.Client) -> list[int]:
    return [row["id"] for row in client.get(f"{V1}/reviews/queue").json()["detections"]]


def verdicts(client: httpx.Client) -> dict[int, str]:
    rows = client.get(f"{V1}/detections?limit=200").json()["detections"]
    return {row["id"]: row["verdict"] for row in rows if row["verdict"]}


def expect_clip(page: Page, number: int) -> None:
    expect(page.locator("[data-review]")).to_have_attribute("data-review", str(number))
    page.wait_for_function("() => document.querySelector('[data-picture] img').complete")
    assert page.evaluate("document.querySelector('[data-picture] img').naturalWidth") > 0


def status(page: Page) -> str:
    return page.locator("[data-status]").inner_text()


def test_every_answer_has_a_key_and_a_button_and_undo_works_over_reloads(page: Page, client: httpx.Client) -> None:
    ids = queue_of(client)
    expect_clip(page, ids[0])
    for k, key in enumerate("ynub0"):
        page.keyboard.press(key)
        expect_clip(page, ids[k + 1])
    page.keyboard.press("j")
    for k, name in enumerate(("Correct", "Incorrect", "Unsure"), start=6):
        expect_clip(page, ids[k])
        page.get_by_role("button", name=name, exact=True).click()
    page.keyboard.press("k")
    expect(page.get_by_role("button", name="Unsure", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Skip").click()
    expect_clip(page, ids[9])
    given = ("correct", "incorrect", "unsure", "several", "none", "correct", "incorrect", "unsure")
    numbers = [*ids[:5], *ids[6:9]]
    wait_for(lambda: verdicts(client) == dict(zip(numbers, given, strict=True)))
    expect(page.locator("[data-left]")).to_have_text("4")

    page.reload()
    expect_clip(page, ids[9])
    page.keyboard.press("z")
    expect_clip(page, ids[8])
    expect(page.locator("[data-status]")).to_contain_text("unsure, taken back")
    page.goto("/recordings")
    page.goto("/review")
    expect_clip(page, ids[5])  # what was skipped comes first
    page.keyboard.press("Control+z")
    expect_clip(page, ids[7])
    page.get_by_role("button", name="Undo").click()
    expect_clip(page, ids[6])
    assert verdicts(client) == dict(zip(numbers[:5], given, strict=False))
    expect(page.locator("[data-left]")).to_have_text("7")
    expect(page.get_by_role("button", name="Correct", exact=True)).to_have_attribute("aria-pressed", "false")


def test_answers_wait_for_the_server_and_are_counted(page: Page, client: httpx.Client) -> None:
    ids = queue_of(client)
    slow: list[Route] = []
    n_requests = 0

    def save(route: Route) -> None:
        nonlocal n_requests
        n_requests += 1
        if n_requests == 1:
            slow.append(route)
        elif n_requests == 2:
            route.abort()
        else:
            route.continue_()

    page.route(REVIEW, save)
    page.keyboard.down("y")
    page.keyboard.down("y")  # a key that is held repeats
    page.keyboard.up("y")
    page.keyboard.press("n")
    page.keyboard.press("u")
    expect_clip(page, ids[3])
    assert _warns_when_left(page)
    while not slow:
        page.wait_for_timeout(10)
    slow[0].continue_()
    expect(page.get_by_text("1 answer waiting to be sent")).to_be_visible()
    expect(page.locator("[data-status]")).to_contain_text("unsure, saved")
    assert verdicts(client) == {ids[0]: "correct", ids[2]: "unsure"}
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("1 answer waiting to be sent")).to_be_hidden()
    assert verdicts(client)[ids[1]] == "incorrect"
    assert not _warns_when_left(page)


def _warns_when_left(page: Page) -> bool:
    return not page.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))")


def test_answers_that_were_not_saved_are_sent_when_the_page_is_opened_again(
    page: Page, context: BrowserContext, client: httpx.Client
) -> None:
    ids = queue_of(client)
    page.route(REVIEW, lambda route: route.abort())
    for key in "ynu":
        page.keyboard.press(key)
    expect(page.get_by_text("3 answers waiting to be sent")).to_be_visible()
    assert not verdicts(client)
    other = context.new_page()  # somebody answers one of them otherwise in another tab
    other.route(REVIEW, lambda route: route.abort())
    other.goto(f"/review?d={ids[2]}")
    expect(other.get_by_text("3 answers waiting to be sent")).to_be_visible()
    expect(other.get_by_role("button", name="Unsure", exact=True)).to_have_attribute("aria-pressed", "true")
    other.keyboard.press("b")
    other.close(run_before_unload=False)
    page.close(run_before_unload=False)

    again = context.new_page()
    again.goto("/recordings")
    again.goto("/review")
    expected = {ids[0]: "correct", ids[1]: "incorrect", ids[2]: "several"}
    wait_for(lambda: verdicts(client) == expected)
    expect(again.get_by_text("waiting to be sent")).to_be_hidden()
    again.wait_for_function("() => !Object.keys(localStorage).some(name => name.includes('/answer/'))")
    (recording,) = client.get(f"{V1}/recordings").json()["recordings"]
    again.goto(f"/recordings/{recording['sha256']}?d={ids[1]}")
    expect(again.get_by_role("button", name="Incorrect", exact=True)).to_have_attribute("aria-pressed", "true")
    for number in (2, 1, 0):  # each was written once
        again.keyboard.press("z")
        expected.pop(ids[number])
        wait_for(lambda: verdicts(client) == expected)
    expect(again.get_by_role("button", name="Undo")).to_be_disabled()


def test_an_answer_whose_reply_is_lost_is_taken_back(page: Page, client: httpx.Client) -> None:
    ids = queue_of(client)
    lost: list[str] = []

    def lose_reply(route: Route) -> None:
        route.fetch()
        route.abort()
        lost.append(route.request.method)

    page.route(REVIEW, lose_reply)
    page.keyboard.press("y")
    expect(page.get_by_text("1 answer waiting to be sent")).to_be_visible()
    assert verdicts(client) == {ids[0]: "correct"}
    page.keyboard.press("z")
    expect_clip(page, ids[0])
    expect(page.get_by_role("button", name="Correct", exact=True)).to_have_attribute("aria-pressed", "false")
    while lost != ["PUT", "DELETE"]:
        page.wait_for_timeout(10)
    page.unroute(REVIEW)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("1 answer waiting to be sent")).to_be_hidden()
    assert not verdicts(client)


def test_another_species_is_typed_and_an_unknown_name_needs_confirmation(page: Page, client: httpx.Client) -> None:
    ids = queue_of(client)
    page.keyboard.press("e")
    page.keyboard.type("Avis mgna")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Did you mean Avis magna (Loud Bird)")).to_be_visible()
    expect_clip(page, ids[0])
    page.get_by_label("This is a new class").check()
    page.get_by_role("combobox").fill("Avis invented")
    expect(page.get_by_label("This is a new class")).to_be_hidden()
    page.get_by_role("button", name="Other species").click()
    expect(page.get_by_text("'Avis invented': no such class")).to_be_visible()
    page.get_by_label("This is a new class").check()
    page.get_by_role("button", name="Other species").click()
    expect_clip(page, ids[1])
    expect(page.locator("[data-status]")).to_contain_text("Avis invented, saved")
    page.keyboard.press("y")  # keys work again
    expect_clip(page, ids[2])
    wait_for(lambda: len(verdicts(client)) == 2)
    page.goto("/detections?species=invented")
    row = page.get_by_role("row").filter(has_text="Avis invented")
    expect(row).to_contain_text("(model: Bird Number")
    row.get_by_role("link").click()
    expect(page.locator("[data-selected]")).to_contain_text("Avis invented (model: Bird Number")
    expect(page.locator("[data-selected]")).to_contain_text(", another species")  # the scripts run
    page.keyboard.press("z")
    page.keyboard.press("z")
    expect(page.locator("[data-selected]")).not_to_contain_text("model:")
    expect(page.locator("[data-selected]")).to_contain_text("unreviewed")
    wait_for(lambda: not verdicts(client))


def test_two_people_on_one_clip_are_warned_and_nothing_is_replaced(
    page: Page, browser: Browser, client: httpx.Client
) -> None:
    ids = queue_of(client)
    other = browser.new_page(base_url=str(client.base_url))
    other.goto("/review")
    page.keyboard.press("n")
    expect(page.locator("[data-status]")).to_contain_text(", saved")
    other.keyboard.press("y")
    notice = other.get_by_role("alert").filter(has_text="somebody else answered 'incorrect' since")
    expect(notice).to_be_visible()
    assert verdicts(client) == {ids[0]: "incorrect"}
    expect_clip(other, ids[1])  # the page has gone on
    notice.get_by_role("button", name="Replace with mine").click()
    expect(other.locator("[data-status]")).to_contain_text("correct, saved")
    assert verdicts(client) == {ids[0]: "correct"}
    page.keyboard.press("z")
    expect(page.locator("[data-status]")).to_contain_text("somebody else answered 'correct' since")
    assert verdicts(client) == {ids[0]: "correct"}
    other.context.close()


def test_a_clip_that_is_deleted_meanwhile_is_said_and_the_next_is_shown(page: Page, client: httpx.Client) -> None:
    ids = queue_of(client)
    expect_clip(page, ids[0])
    page.wait_for_load_state("networkidle")
    (recording,) = client.get(f"{V1}/recordings").json()["recordings"]
    client.delete(f"{V1}/recordings/{recording['sha256']}").raise_for_status()
    page.keyboard.press("y")
    expect(page.get_by_role("alert").filter(has_text="was deleted while you reviewed it")).to_be_visible()
    expect(page.locator("[data-review]")).not_to_have_attribute("data-review", str(ids[0]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_accessible_fits_and_is_used_by_the_tab_key(
    browser: Browser, client: httpx.Client, scheme: str, width: int
) -> None:
    ids = queue_of(client)
    context = browser.new_context(
        base_url=str(client.base_url), viewport={"width": width, "height": 844}, color_scheme=scheme
    )  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/review")
    expect_clip(page, ids[0])
    result = Axe().run(page)
    assert result.violations_count == 0, result.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.value") == "incorrect":
            break
    page.keyboard.press("Enter")
    expect_clip(page, ids[1])
    assert page.evaluate("document.activeElement.value") == "incorrect", "the focus stays on the answers"
    page.keyboard.press("Enter")
    expect_clip(page, ids[2])
    expect(page.locator("[data-status][role=status]")).to_contain_text("incorrect, saved")
    if width == 390:
        button = page.get_by_role("button", name="Correct", exact=True)
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 48
    context.close()


def test_the_page_works_without_scripts(browser: Browser, client: httpx.Client) -> None:
    ids = queue_of(client)
    context = browser.new_context(base_url=str(client.base_url), java_script_enabled=False)
    page = context.new_page()
    page.goto("/review")
    form = page.locator("[data-review]")
    for number, name in zip(ids, ("Correct", "Skip", "Nothing there"), strict=False):
        expect(form).to_have_attribute("data-review", str(number))
        page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("textbox").fill("Avis mgna")
    page.get_by_role("button", name="Other species").click()
    expect(page.get_by_role("alert").first).to_contain_text("Did you mean Avis magna")
    page.get_by_role("textbox").fill("Loud Bird")
    page.get_by_role("button", name="Other species").click()
    expect(form).to_have_attribute("data-review", str(ids[4]))
    assert verdicts(client) == {ids[0]: "correct", ids[2]: "none", ids[3]: "relabeled"}
    page.get_by_role("button", name="Undo").click()
    expect(form).to_have_attribute("data-review", str(ids[3]))
    page.goto("/review")
    page.get_by_role("button", name="Undo").click()
    expect(form).to_have_attribute("data-review", str(ids[2]))
    assert verdicts(client) == {ids[0]: "correct"}
    context.close()
