"""The overview and what refreshes itself, errors, and a server that is gone or hangs, in a real browser."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tests.fixtures.machines import Server, serving
from tests.fixtures.server import running

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings

pytestmark = pytest.mark.ops

GONE = ("net::ERR_", "the server responded with a status of 404", "the server responded with a status of 503")
"""Chromium's words for a server that is gone, and for pages of errors."""

SCREENSHOTS = os.environ.get("DAWNCHORUS_SCREENSHOTS")
"""A folder: pictures of the page are put there, for the documentation."""


@contextmanager
def open_page(
    browser: Browser,
    url: object,
    *,
    width: int = 1280,
    scheme: str = "dark",
    allowed: tuple[str, ...] = (),
    scripts: bool = True,
) -> Iterator[Page]:
    """Yield a page on which no script fails and nothing is blocked, besides what is allowed."""
    viewport = {"width": width, "height": 844}
    context = browser.new_context(
        base_url=str(url),
        viewport=viewport,
        color_scheme=scheme,
        java_script_enabled=scripts,  # type: ignore[arg-type]
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert not [text for text in wrong if not any(each in text for each in allowed)]


def tone(level: float, *, seconds: float = 1.0) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.full(int(16_000 * seconds), level, np.float32), 16_000, format="WAV")
    return out.getvalue()


def store(client: httpx.Client, k: int, *, site: str = "SITE7", hours: int = 5) -> str:
    """Store a recording, `hours` after the one before, and return its sha256."""
    start = datetime(2026, 5, 10, 3, 59, 30) + timedelta(hours=hours * k)
    name, level = f"{site}_{start:%Y%m%d_%H%M%S}.wav", 0.05 + 0.9 * (k % 19) / 19
    files = {"audio": (name, tone(level, seconds=60 + k / 100))}
    reply = client.post("/api/v1/identify?store=true&min_score=0.05", files=files).raise_for_status()
    return str(reply.json()["sha256"])


@pytest.fixture(scope="module")
def client(level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server with recordings of four days at two sites."""
    with running(Settings(model=level_bundle.folder, data=tmp_path_factory.mktemp("overview") / "server")) as opened:
        for k in range(20):
            store(opened, k, site=("SITE7", "POND")[k % 3 == 0])
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_overview_fits_is_accessible_and_keeps_its_state_in_the_url(
    browser: Browser, client: httpx.Client, scheme: str, width: int
) -> None:
    with open_page(browser, client.base_url, width=width, scheme=scheme) as page:
        page.goto("/overview")
        expect(page.locator(".chart").first).to_be_visible()
        result = Axe().run(page)
        assert result.violations_count == 0, result.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelectorAll('*').length") < 1500
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(SCREENSHOTS, f"overview-{width}-{scheme}.png"), full_page=True)
        hours = page.get_by_role("region", name="Detections by hour and day")
        expect(hours.get_by_role("row").nth(1)).to_contain_text("10 May 2026")
        assert "rgba(0, 0, 0, 0)" not in hours.locator("[class^=heat-]").evaluate_all(
            "cells => cells.map(cell => getComputedStyle(cell).backgroundColor)"
        )
        # a species by typing, chosen by keys
        box = page.get_by_role("combobox", name="Species")
        box.press_sequentially("qui", delay=30)
        option = page.get_by_role("option", name="Quiet Bird")
        expect(option).to_be_visible()
        assert Axe().run(page).violations_count == 0
        box.press("ArrowDown")
        while "active" not in (option.get_attribute("class") or ""):
            box.press("ArrowDown")
        box.press("Enter")
        page.get_by_label("Period").select_option("week")
        page.get_by_label("Site").select_option("POND")
        page.get_by_label("Minimum score").select_option("0.25")
        page.get_by_role("button", name="Apply").click()
        page.wait_for_url("**/overview?period=week&to=&site=POND&species=Quiet+Bird&min_score=0.25")
        expect(page.get_by_role("region", name="Species by day").get_by_role("row")).to_have_count(2)
        page.get_by_role("link", name="Earlier").click()
        page.wait_for_url("**to=2026-05-0*")
        expect(page.get_by_label("Site")).to_have_value("POND")
        expect(page.get_by_text("No recordings match these filters.")).to_be_visible()
        page.go_back()
        expect(page.locator("input[name=species]")).to_have_value("Quiet Bird")
        page.get_by_role("link", name="Clear filters").first.click()
        page.wait_for_url("**/overview")


def test_the_overview_works_without_scripts(browser: Browser, client: httpx.Client) -> None:
    with open_page(browser, client.base_url, scripts=False) as page:
        page.goto("/overview")
        page.get_by_role("textbox", name="Species").fill("quiet")
        page.get_by_label("Minimum score").select_option("0.5")
        page.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(re.compile("species=quiet"))
        for summary in page.locator("summary").all():
            summary.click()
        for name in ("hours", "species-times", "frequent", "latest"):
            expect(page.locator(f"#{name} table")).to_be_visible()


def _reported(row: Locator) -> str:
    """Return the words of a chart for a row of its table."""
    return f"{row.get_attribute('data-name')}, score {float(row.get_attribute('data-value') or 0):.2f}"


def test_charts_keep_current_and_can_be_read_by_pointer_and_keys(
    browser: Browser, level_bundle: Bundle, tmp_path: Path
) -> None:
    with (
        running(Settings(model=level_bundle.folder, data=tmp_path / "server")) as client,
        open_page(browser, client.base_url) as page,
    ):
        page.goto("/overview")
        expect(page.get_by_text("No recordings yet.")).to_be_visible()
        charts = page.locator(".chart")
        expect(charts.first).to_be_hidden()
        for k in range(24):
            client.post("/api/predict", content=tone(0.05 + 0.035 * k)).raise_for_status()
        sha256 = store(client, 1)
        # the numbers come by themselves
        expect(charts.first).to_be_visible(timeout=20_000)
        expect(page.locator("#latest [data-value]")).to_have_count(20, timeout=20_000)
        scores = page.get_by_role("group", name="Scores of the last 20 predictions")
        scores.focus()
        page.keyboard.press("ArrowRight")
        oldest, newest = page.locator("#latest [data-value]").last, page.locator("#latest [data-value]").first
        expect(scores.get_by_role("status")).to_contain_text(_reported(oldest))
        canvas = scores.locator(".u-over")
        box = canvas.bounding_box()
        assert box is not None
        canvas.hover(position={"x": box["width"] - 3, "y": box["height"] / 2})
        expect(scores.get_by_role("status")).to_contain_text(_reported(newest))
        species = page.get_by_role("group", name="Ten most predicted species")
        species.locator(".u-over").hover(position={"x": 5, "y": 3})
        expect(species.get_by_role("status")).to_contain_text(re.compile(r"(Loud|Quiet) Bird: \d+ recordings"))
        # what comes later changes neither the position on the page, nor the table, open when it was empty, nor
        # the focus
        link = page.locator("#latest a").first
        link.focus()
        page.wait_for_function("scrollY > 100")
        scroll_y = page.evaluate("scrollY")
        before = page.locator("#latest [data-value]").last.get_attribute("data-value")
        client.post("/api/predict", content=tone(0.25)).raise_for_status()
        expect(page.locator("#latest [data-value]").last).not_to_have_attribute(
            "data-value", before or "", timeout=20_000
        )
        assert page.evaluate("scrollY") == scroll_y
        assert str(page.evaluate("document.activeElement.getAttribute('href')")).endswith(sha256)
        # a paused page waits
        page.get_by_role("button", name="Pause").click()
        store(client, 2)
        with page.expect_response("**/overview"):
            page.get_by_role("button", name="Pause").click()
        expect(page.locator("#facts dd").first).to_have_text("2")
        # a point opens its recording
        scores.focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        page.wait_for_url("**/recordings/*")


def test_latest_recordings_come_and_go_by_themselves(browser: Browser, level_bundle: Bundle, tmp_path: Path) -> None:
    with (
        running(Settings(model=level_bundle.folder, data=tmp_path / "server")) as client,
        open_page(browser, client.base_url, allowed=("status of 404",)) as page,
    ):
        page.goto("/")
        expect(page.get_by_text("None yet.")).to_be_visible()
        shas = [store(client, k) for k in range(3)]
        tiles = page.locator(".tiles a")
        expect(tiles).to_have_count(3, timeout=20_000)
        first = page.locator(f".tiles a[href$='{shas[0]}']")
        first.focus()
        page.evaluate("document.querySelector('.tiles a').dataset.kept = 'yes'")
        shas.append(store(client, 3))
        expect(tiles).to_have_count(4, timeout=20_000)
        assert str(page.evaluate("document.activeElement.getAttribute('href')")).endswith(shas[0])
        # one is deleted elsewhere: its tile goes, and its address says so
        client.delete(f"/api/v1/recordings/{shas[3]}").raise_for_status()
        expect(tiles).to_have_count(3, timeout=20_000)
        page.goto(f"/recordings/{shas[3]}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Recording not found")
        assert Axe().run(page).violations_count == 0
        page.get_by_role("link", name="All recordings").click()
        page.wait_for_url("**/recordings")


def test_a_server_that_stops_in_the_middle_is_said_and_met_again(
    browser: Browser, level_bundle: Bundle, tmp_path: Path
) -> None:
    server = Server(tmp_path / "server", "--model", level_bundle.folder)
    with serving(server), open_page(browser, server.url, allowed=GONE) as page:
        with server.client() as client:
            store(client, 1)
        page.goto("/overview")
        expect(page.locator("#facts dd").first).to_have_text("1")
        server.end(signal.SIGKILL)
        banner = page.get_by_text("Cannot reach the server.")
        expect(banner).to_be_visible(timeout=30_000)
        expect(page.locator("#facts dd").first).to_have_text("1")
        server.start()
        expect(banner).to_be_hidden(timeout=60_000)
        with server.client() as client:
            store(client, 2)
        expect(page.locator("#facts dd").first).to_have_text("2", timeout=30_000)


def test_a_request_that_hangs_ends_with_words(browser: Browser, client: httpx.Client) -> None:
    held: list[Route] = []
    with open_page(browser, client.base_url, allowed=GONE) as page:
        page.clock.install()
        page.goto("/models")
        page.route("**/api/v1/models/rollback", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
        page.evaluate(
            """async () => {
                const { request } = await import("/static/page.js");
                const reply = request("POST", "/api/v1/models/rollback");
                window.outcome = reply.then(() => "answered", error => error.message);
            }"""
        )
        page.wait_for_timeout(0)
        page.clock.fast_forward(31_000)
        assert page.evaluate("window.outcome") == "The server did not answer within 30 s. Try again later."
        expect(page.get_by_text("Cannot reach the server.")).to_be_visible()
        for route in held:
            route.abort()


def test_pages_of_errors_are_accessible(browser: Browser, client: httpx.Client) -> None:
    with open_page(browser, client.base_url, width=390, allowed=GONE) as page:
        for path in ("/nothing", "/jobs/x", "/overview?period=decade&to=never", "/recordings?cursor=x"):
            page.goto(path)
            result = Axe().run(page)
            assert result.violations_count == 0, result.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
