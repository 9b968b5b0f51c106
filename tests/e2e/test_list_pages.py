"""Identify with many files, and the lists of recordings and detections, in a real browser."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from tests.fixtures.server import running

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings

pytestmark = pytest.mark.ops

EXPECTED = ("the server responded with a status of 422", "net::ERR_INTERNET_DISCONNECTED")
ODD_NAME = 'a "quoted" <b>\u202e\u05d3\u05d5\u05db\u05d9\u05e4\u05ea.wav'
N_FILES = 20


@pytest.fixture
def client(level_bundle: Bundle, tmp_path: Path) -> Iterator[httpx.Client]:
    with running(Settings(model=level_bundle.folder, data=tmp_path / "server")) as opened:
        yield opened


@contextmanager
def open_page(browser: Browser, client: httpx.Client, *, width: int = 1280, scheme: str = "dark") -> Iterator[Page]:
    """Yield a page on which no script fails and nothing is blocked."""
    viewport = {"width": width, "height": 844}
    context = browser.new_context(base_url=str(client.base_url), viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert not [text for text in wrong if not any(each in text for each in EXPECTED)]


def tone(level: float) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.full(16_000, level, np.float32), 16_000, format="WAV")
    return out.getvalue()


def files(n: int) -> list[dict[str, object]]:
    """Return sound files of different content, of which the third is none and the fourth is truncated."""
    names = [ODD_NAME, *(f"SITE7_20260512_{k:06d}.wav" for k in range(1, n))]
    contents = [tone(0.1 + 0.8 * k / n)[: -2000 if k == 3 else None] for k in range(n)]
    contents[2:3] = [b"no sound"]
    return [
        {"name": name, "mimeType": "audio/wav", "buffer": content}
        for name, content in zip(names, contents, strict=True)
    ]


def test_twenty_files_of_which_one_is_broken_are_identified_and_can_be_retried(
    browser: Browser, client: httpx.Client
) -> None:
    with open_page(browser, client) as page:
        page.goto("/")
        page.get_by_label("Minimum score").fill("0.05")
        page.get_by_label("Week").select_option("all year")
        page.set_input_files("#audio", files(N_FILES))  # type: ignore[arg-type]
        expect(page.get_by_text(f"{N_FILES} files: 0 done")).to_be_visible()
        page.context.set_offline(True)
        page.get_by_role("button", name="Identify", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("Cannot reach the server")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text(f"{N_FILES} files: 0 done, {N_FILES} paused")).to_be_visible()
        page.context.set_offline(False)
        page.get_by_role("button", name="Continue").click()
        finished = page.get_by_role("status").filter(has_text=f"All {N_FILES} files are finished: 19 done, 1 failed.")
        expect(finished).to_be_visible(timeout=120_000)
        rows = page.get_by_role("list", name="Files").get_by_role("listitem")
        expect(rows).to_have_count(N_FILES)
        expect(rows.first).to_contain_text("failed")
        expect(rows.first).to_contain_text("not a sound file")
        expect(rows.filter(has_text="quoted")).to_contain_text(ODD_NAME)
        expect(rows.filter(has_text="000003.wav")).to_contain_text("truncated: ")
        page.get_by_label("Show only failed").check()
        expect(rows).to_have_count(1)
        assert Axe().run(page).violations_count == 0
        with page.expect_response("**/api/v1/identify"):
            rows.first.get_by_role("button", name="Retry").press("Enter")
        expect(finished).to_be_visible()
        page.reload()
        expect(page.get_by_label("Minimum score")).to_have_value("0.05")
        expect(page.get_by_label("Week")).to_have_value("0")
        listed = client.get("/api/v1/recordings").json()
        assert listed["total"] == N_FILES
        assert [row["state"] for row in listed["recordings"]].count("failed") == 1
        assert ODD_NAME in [row["name"] for row in listed["recordings"]]


def test_a_folder_names_the_site_and_what_is_no_sound_is_skipped(
    browser: Browser, client: httpx.Client, tmp_path: Path
) -> None:
    folder = tmp_path / "Upper Pond"
    folder.mkdir()
    for k, name in enumerate(("20260512_040000.WAV", "SITE7_20260512_050000.wav", "notes.txt", ".hidden.wav")):
        (folder / name).write_bytes(tone(0.2 + 0.1 * k))
    with open_page(browser, client) as page:
        page.goto("/")
        page.set_input_files("#folder", folder)
        expect(page.get_by_text("2 files: 0 done, 2 waiting · 2 other files skipped")).to_be_visible()
        expect(page.get_by_role("list", name="Files").get_by_role("listitem").first).to_contain_text("Upper Pond")
        page.evaluate(
            """() => {
                const dropped = new DataTransfer();
                dropped.items.add(new File(["no sound"], "dropped.wav"));
                const target = document.querySelector("[data-identify]");
                target.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
            }"""
        )
        expect(page.get_by_text("3 files: 0 done, 3 waiting")).to_be_visible()
        page.get_by_role("button", name="Identify", exact=True).click()
        expect(page.get_by_text("All 3 files are finished: 2 done, 1 failed.")).to_be_visible(timeout=60_000)
    rows = client.get("/api/v1/recordings").json()["recordings"]
    assert {row["name"]: row["site"] for row in rows} == {
        "20260512_040000.WAV": "Upper Pond",
        "SITE7_20260512_050000.wav": "SITE7",
        "dropped.wav": None,
    }


def test_three_thousand_files_at_once_stay_usable(browser: Browser, client: httpx.Client) -> None:
    with open_page(browser, client) as page:
        page.goto("/")
        page.evaluate(
            """() => {
                const transfer = new DataTransfer();
                for (let k = 2999; k >= 0; k -= 1) transfer.items.add(new File(["x"], `${k}.wav`));
                const input = document.getElementById("audio");
                input.files = transfer.files;
                input.dispatchEvent(new Event("change"));
            }"""
        )
        expect(page.get_by_text("3,000 files: 0 done")).to_be_visible(timeout=5_000)
        rows = page.get_by_role("list", name="Files").get_by_role("listitem")
        expect(rows).to_have_count(200)
        names = rows.locator(".name")
        assert names.all_inner_texts() == [f"{k}.wav" for k in range(200)], "in the order of their names"
        expect(page.get_by_text("2,800 more files are not shown.")).to_be_visible()
        assert page.evaluate("document.querySelectorAll('*').length") < 1500
        page.get_by_role("button", name="Remove 0.wav").click()
        expect(page.get_by_text("2,999 files: 0 done, 2,999 waiting")).to_be_visible()
        expect(names.first).to_have_text("1.wav")
        page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(400)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_recordings_are_selected_and_deleted_by_keys(
    browser: Browser, client: httpx.Client, width: int, scheme: str
) -> None:
    for each in files(4):
        audio = {"audio": (str(each["name"]), each["buffer"])}
        client.post("/api/v1/identify?store=true&min_score=0.05", files=audio)  # type: ignore[arg-type]
    with open_page(browser, client, width=width, scheme=scheme) as page:
        page.goto("/recordings")
        boxes = page.locator("tbody").get_by_role("checkbox")
        expect(boxes).to_have_count(4)
        assert Axe().run(page).violations_count == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes.nth(1).focus()
        page.keyboard.press("Space")
        boxes.nth(2).focus()
        page.keyboard.press("Space")
        expect(page.get_by_text("2 selected")).to_be_visible()
        delete = page.get_by_role("button", name="Delete…")
        delete.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Delete 2 recordings")
        expect(dialog).to_contain_text("This cannot be undone.")
        page.keyboard.press("Escape")
        expect(boxes).to_have_count(4)
        delete.focus()
        page.keyboard.press("Enter")
        dialog.get_by_role("button", name="Delete").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("2 recordings deleted.")).to_be_visible()
        expect(boxes).to_have_count(2)
        expect(boxes.nth(1)).to_be_focused()
        assert client.get("/api/v1/recordings").json()["total"] == 2
        page.goto("/detections")
        assert Axe().run(page).violations_count == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        link = page.locator("tbody").get_by_role("link").first
        assert "t=0.000" in (link.get_attribute("href") or "")
