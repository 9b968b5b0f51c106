"""Pictures of the pages for the documents: `python -m bench.screenshots [FOLDER]`, by default docs/images/pages.

A real server identifies synthetic recordings with BirdNET; chromium draws its pages at two widths, light and dark.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal

import httpx2 as httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from tests.fixtures.server import running

from bench.pages import IS_DRAWN
from dawnchorus.audio.write import write_recording
from dawnchorus.data.synthesis.dawn_chorus import DAWN_LATITUDE, DAWN_LONGITUDE, DAWN_START_TIME, dawn_chorus
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.server.settings import Settings

FOLDER = Path(__file__).parents[1] / "docs" / "images" / "pages"

PAGES = {
    "overview": "/overview",
    "identify": "/",
    "recordings": "/recordings",
    "detections": "/detections",
    "review": "/review",
}
"""Pages by the names of their screenshots; the page of a recording has no fixed path."""

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

SITES = ("EDGE", "POND", "RIDGE")
N_NIGHTS, N_REVIEWED = 2, 6

N_COLORS = 255

IS_COMPLETE = (
    "() => [...document.images].every(image => image.complete || image.getBoundingClientRect().top > innerHeight)"
)
"""Script that returns if all images in view are there; the others are loaded when they come into view."""

TIMEOUT_MS = 60_000


def main() -> None:
    """Take the screenshots."""
    parser = argparse.ArgumentParser(prog="python -m bench.screenshots")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, metavar="FOLDER")
    folder: Path = parser.parse_args().folder
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("there is no chromium: apt install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with _example_server() as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        newest = client.get("/api/v1/recordings").json()["recordings"][0]["sha256"]
        pages = {**PAGES, "recording": f"/recordings/{newest}"}
        for size in SIZES:
            for scheme in SCHEMES:
                _take_all(browser, str(client.base_url), pages, size, scheme, folder)
        browser.close()


@contextmanager
def _example_server() -> Iterator[httpx.Client]:
    """Yield a client of a server with recordings of several sites and nights, some of them reviewed."""
    with tempfile.TemporaryDirectory() as scratch:
        store = ModelStore(default_folder())
        store.open("birdnet")
        with running(Settings(data=Path(scratch) / "server", models_folder=store.folder)) as client:
            query = {"store": "true", "merge": "true", "lat": f"{DAWN_LATITUDE}", "lon": f"{DAWN_LONGITUDE}"}
            for k in range(N_NIGHTS * len(SITES)):
                start = DAWN_START_TIME + timedelta(days=k // len(SITES))
                path = Path(scratch) / f"{SITES[k % len(SITES)]}_{start:%Y%m%d_%H%M%S}.wav"
                scene = dawn_chorus(seed=k + 1)
                write_recording(path, scene.samples, rate_hz=scene.rate_hz)
                with path.open("rb") as file:
                    client.post("/api/v1/identify", params=query, files={"audio": (path.name, file)}).raise_for_status()
            detections = client.get("/api/v1/detections", params={"min_score": 0.5}).json()["detections"]
            for row in detections[:N_REVIEWED]:
                client.put(f"/api/v1/detections/{row['id']}/review", json={"verdict": "correct"}).raise_for_status()
            yield client


def _take_all(
    browser: Browser, url: str, pages: dict[str, str], size: str, scheme: Literal["light", "dark"], folder: Path
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(base_url=url, viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    for name, path in pages.items():
        reply = page.goto(path)
        if reply is None or not reply.ok:
            raise SystemExit(f"{path}: the server returned {reply and reply.status}")
        page.wait_for_load_state("networkidle")
        page.wait_for_function(IS_DRAWN if name == "recording" else IS_COMPLETE)
        _save(page, folder / f"{name}-{size}-{scheme}.png")
    context.close()


def _save(page: Page, path: Path) -> None:
    """Write what is in view with few colors, which makes the file a third as large."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(N_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
