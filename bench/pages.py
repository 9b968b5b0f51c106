"""The page of a recording in chromium: first view, zoom steps and memory for a minute, two hours and a day."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page
from tests.fixtures.long_recordings import store_long_recording, write_long_recording
from tests.fixtures.server import running_service

from bench.browser import PageBench, page_bench
from dawnchorus.server.settings import Settings

RECORDINGS = (("1 minute", 60, 20), ("2 hours", 7_200, 1_000), ("24 hours", 86_400, 12_000))
"""Name, seconds and detections."""

SUFFIX = os.environ.get("BENCH_SUFFIX", "flac")
"""Format of the recordings: flac, mp3 or m4a."""

TIMEOUT_MS = 300_000

IS_DRAWN = """() => {
    const canvas = document.querySelector("[data-picture]");
    const { data } = canvas.getContext("2d").getImageData(0, canvas.height / 2, canvas.width, 1);
    const shown = new URLSearchParams(location.search).get("zoom");
    const isLoading = document.querySelector("[data-progress]").textContent;
    return new Set(new Uint32Array(data.buffer)).size > 20 && !isLoading && shown;
}"""


def measure() -> dict[str, Any] | None:
    """Return seconds, requests and memory; None where there is no chromium."""
    with page_bench() as setup:
        return None if setup is None else _measure_sizes(setup)


def _measure_sizes(setup: PageBench) -> dict[str, Any]:
    rows = []
    with running_service(Settings(model=setup.model, data=setup.folder / "server")) as (client, service):
        for name, duration_s, n_detections in RECORDINGS:
            path = setup.folder / f"{name}.{SUFFIX}"
            write_long_recording(path, duration_s=duration_s)
            sha256 = store_long_recording(service, path, duration_s=duration_s, n_detections=n_detections)
            page = setup.browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark")
            page.set_default_timeout(TIMEOUT_MS)
            rows.append({"name": name, **_measure_page(page, f"{client.base_url}/recordings/{sha256}")})
            page.close()
    return {"suffix": SUFFIX, "rows": rows, "load": os.getloadavg()[1]}


def _measure_page(page: Page, url: str) -> dict[str, Any]:
    """Return the first view of a page, and of every zoom step to the whole recording and back."""
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    cpu_s, start_s = time.process_time(), time.perf_counter()
    page.goto(url)
    page.wait_for_function(IS_DRAWN)
    first_s, first_cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    n_requests, n_bytes = len(sizes), sum(sizes)
    cold = _zoom(page, "-")
    back = _zoom(page, "+")
    return {
        "first_s": first_s,
        "first_cpu_s": first_cpu_s,
        "n_requests": n_requests,
        "kb": n_bytes / 1e3,
        "n_elements": page.evaluate("document.querySelectorAll('*').length"),
        "zoom_out_s": statistics.median(cold),
        "zoom_out_max_s": max(cold),
        "zoom_in_s": statistics.median(back),
        "zoom_in_max_s": max(back),
        "heap_mb": page.evaluate("performance.memory.usedJSHeapSize") / 1e6,
        "server_mb": _resident_mb(),
    }


def _zoom(page: Page, key: str) -> list[float]:
    """Zoom until the view stays as it is, and return the seconds until each view is drawn."""
    seconds: list[float] = []
    shown = ""
    while True:
        start_s = time.perf_counter()
        page.keyboard.press(key)
        page.wait_for_timeout(50)
        page.wait_for_function(IS_DRAWN)
        seconds.append(time.perf_counter() - start_s)
        page.wait_for_timeout(600)  # the URL follows
        zoom = page.url.split("zoom=")[1].split("&")[0]
        if zoom == shown or float(zoom) < 1:
            return seconds[:-1] or seconds
        shown = zoom


def _resident_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
