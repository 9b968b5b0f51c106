"""Every page in a real browser: accessible, by keyboard alone, on a phone, in both themes, with nothing blocked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update
from tests.fixtures.server import running_service
from tests.fixtures.uploads import make_audio, store_samples, upload
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings
from dawnchorus.server.state.tables import DetectionRow, Identification

pytestmark = pytest.mark.ops

PAGES = (
    "/",
    "/recordings",
    "/detections",
    "/review",
    "/training",
    "/models",
    "/overview",
    "/system",
    "/docs",
    "/login",
    "/nowhere",
)

MISSING = "the server responded with a status of 404"
"""Chromium's word for a page that is not there, which is one of those that are looked at."""

LONG_NAME = "A recorder with a long name, in the upper valley beside the pond_20260514T040000+0200.wav"


@dataclass(frozen=True)
class Site:
    """A server with something on every page."""

    url: str
    recording: str
    cancelled_job: str

    @property
    def pages(self) -> tuple[str, ...]:
        return (*PAGES, self.recording, self.cancelled_job)


@pytest.fixture(scope="module")
def site(level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Recordings with detections, one of them unexpected, a failed one, training data, and jobs that nothing runs."""
    settings = Settings(model=level_bundle.folder, data=tmp_path_factory.mktemp("site"), job_kinds=())
    with running_service(settings) as (client, service):
        for k, name in enumerate(("SITE7_20260512T040000+0200.wav", "SITE7_20260513T040000+0200.wav", LONG_NAME)):
            audio = {"audio": (name, make_audio(0.2 + 0.2 * k, seconds=4 + k))}
            client.post("/api/v1/identify?store=true&min_score=0.05&merge=true", files=audio).raise_for_status()
        client.post("/api/v1/identify?store=true", files={"audio": ("failed.wav", b"no sound")})
        with service.database.write() as session:
            session.execute(update(DetectionRow).where(DetectionRow.common_name == "Loud Bird").values(in_range=False))
            session.execute(update(Identification).values(latitude=60.169856, longitude=24.938379))
        upload(client, ("Loud Bird1.wav", make_audio(0.3)), ("Quiet Bird2.wav", make_audio(0.4)))
        recording = f"/recordings/{client.get('/api/v1/detections').json()['detections'][0]['recording']}"
        job = client.post(f"/api/v1{recording}/identify").json()["id"]
        client.post(f"/api/v1/jobs/{job}/cancel").raise_for_status()
        yield Site(str(client.base_url).rstrip("/"), recording, f"/jobs/{job}")


@contextmanager
def open_page(browser: Browser, site: Site, **options: Any) -> Iterator[Page]:
    """Yield a page on which no script fails and nothing is blocked."""
    context = browser.new_context(base_url=site.url, **options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert not [text for text in wrong if MISSING not in text]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_is_accessible_and_fits(browser: Browser, site: Site, scheme: str, width: int) -> None:
    with open_page(browser, site, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:
        for path in site.pages:
            page.goto(path)
            result = Axe().run(page)
            assert result.violations_count == 0, f"{path}: {result.generate_report()}"
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than the screen"


SMALL_TARGETS = """() => {
  const isInline = each => getComputedStyle(each).display === "inline";
  const isInSentence = each => isInline(each) && each.parentElement.innerText !== each.innerText;
  const exempt = ".hidden, .chooser input, .skip, .track-names";
  return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary")]
    .filter(each => each.checkVisibility() && each.tabIndex >= 0 && !each.closest(exempt) && !isInSentence(each))
    .map(each => [each, (each.closest(".ts-control") || each.closest("label") || each).getBoundingClientRect()])
    .filter(([each, { width, height }]) => height < 43.5 || width < 24)
    .map(([each, { width, height }]) => `${each.outerHTML.slice(0, 120)}: ${width} x ${height}`);
}"""
"""Script that returns what is too small for a finger; links in sentences are as high as their lines."""


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_has_one_line_of_navigation_and_large_targets(browser: Browser, site: Site, width: int) -> None:
    with open_page(browser, site, viewport={"width": width, "height": 740}, has_touch=True, is_mobile=True) as page:
        for path in site.pages:
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            tops = (
                page.get_by_role("navigation", name="Pages")
                .get_by_role("link")
                .evaluate_all("links => links.map(link => link.getBoundingClientRect().top)")
            )
            assert len(tops) == 3
            assert len(set(tops)) == 1, path
            assert (page.locator("header").bounding_box() or {"height": 0})["height"] < 60, path
            for summary in page.locator("summary").all():
                summary.evaluate("summary => { summary.parentElement.open = true; }")
            assert page.evaluate(SMALL_TARGETS) == [], path
        page.get_by_role("button", name="More").tap()
        page.get_by_role("navigation", name="More pages").get_by_role("link", name="Models").tap()
        page.wait_for_url("**/models")
        expect(page.get_by_role("button", name="More")).to_have_attribute("aria-current", "true")


STOPS = """() => [...document.querySelectorAll("a[href], button, input, select, summary, audio[controls], [tabindex]")]
  .filter(each => each.checkVisibility() && !each.disabled && each.type !== "hidden" && each.tabIndex >= 0)
  .map((each, k) => { each.dataset.stop = k; return each.outerHTML.slice(0, 120); })"""
"""Script that numbers what the keyboard has to reach, and returns it."""

FOCUSED = """() => { const { dataset, type, tagName } = document.activeElement;
  const { outlineStyle } = getComputedStyle(document.activeElement.closest(".ts-control") ?? document.activeElement);
  const hasParts = ["file", "date"].includes(type) || tagName === "AUDIO"; // which the browser frames itself
  const isShown = hasParts || outlineStyle !== "none";
  return [dataset.stop ?? null, isShown]; }"""


@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_can_be_used_by_keyboard_alone(browser: Browser, site: Site, width: int) -> None:
    with open_page(browser, site, viewport={"width": width, "height": 844}, color_scheme="dark") as page:
        for path in site.pages:
            page.goto(path)
            page.wait_for_load_state("networkidle")
            stops, reached = page.evaluate(STOPS), set()
            for _ in range(3 * len(stops) + 10):  # players have several stops of their own
                page.keyboard.press("Tab")
                stop, is_shown = page.evaluate(FOCUSED)
                if stop is not None:
                    assert is_shown, f"{path}: the focus on {stops[int(stop)]} is not shown"
                    reached.add(int(stop))
                if len(reached) == len(stops):
                    break
            missed = [text for k, text in enumerate(stops) if k not in reached]
            assert not missed, f"{path}: the Tab key does not reach {missed}"


def test_pages_beyond_the_first_are_opened_by_keys_on_a_phone(browser: Browser, site: Site) -> None:
    with open_page(browser, site, viewport={"width": 390, "height": 844}) as page:
        page.goto("/")
        more = page.get_by_role("button", name="More")
        more.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="Training")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("link", name="Training")).to_be_hidden()
        expect(more).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Overview")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Training")).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url("**/training")


def test_a_cancelled_job_says_so_and_is_started_again(browser: Browser, site: Site) -> None:
    with open_page(browser, site) as page:
        page.goto(site.cancelled_job)
        expect(page.get_by_text("Identification was cancelled.")).to_be_visible()
        with page.expect_navigation():
            page.get_by_role("button", name="Start again").click()
        assert site.cancelled_job not in page.url
        expect(page.get_by_text("You can close this page; the work continues.")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("button", name="Start again")).to_be_visible()


def test_recordings_are_downloaded_and_identified_again(browser: Browser, site: Site, tmp_path: Path) -> None:
    with open_page(browser, site) as page:
        page.goto("/recordings")
        page.get_by_label("Select page").check()
        page.get_by_label("Format").select_option("Raven table")
        with page.expect_download() as started:
            page.get_by_role("button", name="Download").click()
        started.value.save_as(tmp_path / started.value.suggested_filename)
        assert (tmp_path / "detections.zip").read_bytes().startswith(b"PK")
        status = page.get_by_role("status")
        expect(status).to_have_text("1 failed recording left out: upload it again. Tables of 3 recordings downloaded.")
        page.get_by_label("Select page").uncheck()
        page.locator("tbody tr").filter(has_not_text="failed").first.get_by_role("checkbox").check()
        page.get_by_role("button", name="Identify again").click()
        expect(status).to_contain_text("1 recording will be identified again.")
        status.get_by_role("link", name="Show progress").click()
        page.wait_for_url("**/system")
        expect(page.locator("#jobs")).to_contain_text("waiting")


def _choose(page: Page, name: str, text: str, option: str) -> None:
    """Type a part of a name, and choose an option by arrows and Enter."""
    box = page.get_by_role("combobox", name=name).first
    box.press_sequentially(text, delay=20)
    offered = page.get_by_role("option", name=option)
    expect(offered).to_be_visible()
    assert Axe().run(page).violations_count == 0
    while "active" not in (offered.get_attribute("class") or ""):
        box.press("ArrowDown")
    box.press("Enter")


@pytest.mark.parametrize("width", [390, 1280])
def test_species_are_offered_while_one_is_typed(browser: Browser, site: Site, width: int) -> None:
    with open_page(browser, site, viewport={"width": width, "height": 844}) as page:
        for path in ("/recordings", "/detections", f"{site.recording}?min_score=0.1"):
            page.goto(path)
            _choose(page, "Species", "lou", "Loud Bird")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.keyboard.press("Enter")
            page.wait_for_url("**species=Loud+Bird**")
            expect(page.locator("input[name=species][data-species-picker='']")).to_have_value("Loud Bird")
        page.goto("/review")
        page.keyboard.press("e")
        _choose(page, "Another species than", "qui", "Quiet Bird")
        expect(page.locator("[data-status]")).to_contain_text(", saved")
        page.keyboard.press("z")
        expect(page.locator("[data-status]")).to_contain_text("taken back")


def test_a_recording_that_is_deleted_while_it_is_looked_at_is_said(
    browser: Browser, level_bundle: Bundle, tmp_path: Path
) -> None:
    with running_service(Settings(model=level_bundle.folder, data=tmp_path / "server")) as (client, _service):
        recording = store_samples(client, np.repeat([0.2, 0.9], 30 * 8_000), 8_000)
        context = browser.new_context(base_url=str(client.base_url))
        page = context.new_page()
        page.goto(recording.removeprefix("/api/v1"))
        page.keyboard.press("j")
        expect(page.get_by_role("region", name="Selected detection").get_by_role("status").first).not_to_have_text(
            "none"
        )
        client.delete(recording).raise_for_status()
        page.keyboard.press("End")
        expect(page.locator("[data-problem]")).to_contain_text("there is no recording")
        page.keyboard.press("y")
        expect(page.get_by_role("alert").filter(has_text="was deleted while you reviewed it")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("Recording not found")
        context.close()


def test_uploads_of_a_tab_that_is_closed_leave_nothing_and_are_done_again(
    browser: Browser, level_bundle: Bundle, tmp_path: Path
) -> None:
    files = [{"name": f"{k}.wav", "mimeType": "audio/wav", "buffer": make_audio(0.1 + 0.08 * k)} for k in range(8)]
    with running_service(Settings(model=level_bundle.folder, data=tmp_path / "server")) as (client, service):
        context = browser.new_context(base_url=str(client.base_url))
        page = context.new_page()
        page.goto("/")
        page.set_input_files("#audio", files)  # type: ignore[arg-type]
        page.get_by_role("button", name="Identify", exact=True).click()
        wait_for(lambda: client.get("/api/v1/recordings").json()["total"])
        page.close(run_before_unload=False)
        wait_for(lambda: not [each for each in service.spool.iterdir() if not each.name.startswith("response-")])
        page = context.new_page()
        page.goto("/")
        page.set_input_files("#audio", files)  # type: ignore[arg-type]
        page.get_by_role("button", name="Identify", exact=True).click()
        expect(page.get_by_text("All 8 files are finished")).to_be_visible()
        assert client.get("/api/v1/recordings").json()["total"] == 8
        context.close()
