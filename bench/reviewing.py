"""The page Review in chromium: time from a key to the next clip, over clips of long FLAC and MP3 recordings."""

from __future__ import annotations

import os
import statistics
from typing import Any

from playwright.sync_api import Page
from tests.fixtures.long_recordings import store_long_recording, write_long_recording
from tests.fixtures.server import running_service

from bench.browser import PageBench, page_bench
from dawnchorus.server.settings import Settings

DURATION_S, N_DETECTIONS = 7_200, 150
"""Of each recording."""

SUFFIXES = ("flac", "mp3")

N_CLIPS, LISTEN_MS = 200, 1_000
"""Clips, and the time that a person listens to each."""

KEYS = "ynjub0"

TIMEOUT_MS = 60_000

WATCH = """() => {
    const form = document.querySelector("[data-review]");
    const isShown = () => {
        const image = document.querySelector("[data-picture] img");
        const audio = document.querySelector("[data-sound] audio");
        return image.complete && image.naturalWidth > 0 && audio.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    };
    window.isClipShown = isShown;
    document.addEventListener("keydown", event => {
        const start = event.timeStamp, before = form.dataset.review;
        window.clipSeconds = null;
        const look = () => {
            if (form.dataset.review !== before && isShown()) window.clipSeconds = (performance.now() - start) / 1000;
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    }, { capture: true });
}"""
"""Measures from a key to the frame in which the next clip has its spectrogram and can be heard."""


def measure() -> dict[str, Any] | None:
    """Return seconds from a key to the next clip; None where there is no chromium."""
    with page_bench() as setup:
        return None if setup is None else _measure_keys(setup)


def _measure_keys(setup: PageBench) -> dict[str, Any]:
    with running_service(Settings(model=setup.model, data=setup.folder / "server")) as (client, service):
        for suffix in SUFFIXES:
            path = setup.folder / f"two hours.{suffix}"
            write_long_recording(path, duration_s=DURATION_S)
            store_long_recording(service, path, duration_s=DURATION_S, n_detections=N_DETECTIONS)
        page = setup.browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark")
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(f"{client.base_url}/review")
        seconds = _press_keys(page)
    return {
        "n_clips": N_CLIPS,
        "listen_s": LISTEN_MS / 1000,
        "duration_h": DURATION_S / 3600,
        "median_s": statistics.median(seconds),
        "p95_s": statistics.quantiles(seconds, n=20)[-1],
        "max_s": max(seconds),
        "load": os.getloadavg()[1],
    }


def _press_keys(page: Page) -> list[float]:
    """Answer and skip clips, and return the seconds from each key to the next clip."""
    page.evaluate(WATCH)
    page.wait_for_function("() => isClipShown()")
    seconds: list[float] = []
    for k in range(N_CLIPS):
        page.wait_for_timeout(LISTEN_MS)
        page.keyboard.press(KEYS[k % len(KEYS)])
        page.wait_for_function("() => window.clipSeconds !== null")
        seconds.append(page.evaluate("clipSeconds"))
    return seconds
