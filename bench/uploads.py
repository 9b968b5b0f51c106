"""A thousand files sent by the page Identify in chromium, one in twenty of them broken: accounts and memory."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import soundfile
from playwright.sync_api import Page
from tests.fixtures.machines import Server, serving

from bench.browser import PageBench, page_bench

N_FILES = int(os.environ.get("BENCH_FILES", "1000"))
RATE_HZ, DURATION_S = 16_000, 5
EVERY, POLL_MS, PATIENCE_S = 200, 1000, 1200.0


def measure() -> dict[str, Any] | None:
    """Return states of the files, and megabytes of server and page on the way; None where there is no chromium."""
    with page_bench("--enable-precise-memory-info") as setup:
        return None if setup is None else _measure_uploads(setup)


def _measure_uploads(setup: PageBench) -> dict[str, Any]:
    server = Server(setup.folder / "server", "--model", setup.model)
    with serving(server):
        page = setup.browser.new_page(base_url=server.url)
        page.goto("/")
        page.set_input_files("#audio", _write_files(setup.folder / "files"))
        start_s = time.monotonic()
        page.get_by_role("button", name="Identify", exact=True).click()
        rows = _follow(page, server)
        wall_s = time.monotonic() - start_s
        url = f"{server.url}/api/v1/recordings"
        states = {
            state: httpx.get(url, params={"state": state}).json()["total"]
            for state in ("detections", "no_detections", "failed")
        }
    return {"n_files": N_FILES, "wall_s": wall_s, "states": states, "rows": rows, "load_average": os.getloadavg()[0]}


def _write_files(folder: Path) -> list[Path]:
    folder.mkdir()
    for k in range(N_FILES):
        path = folder / f"SITE{k % 7}_20260512_{k:06d}.wav"
        if k % 20 == 3:
            path.write_bytes(b"no sound %d" % k)
        else:
            level = np.full(DURATION_S * RATE_HZ, 0.1 + 0.8 * k / N_FILES, np.float32)
            soundfile.write(path, level, RATE_HZ, subtype="FLOAT")
    return sorted(folder.iterdir())


def _follow(page: Page, server: Server) -> list[dict[str, float]]:
    """Return what page and server hold after each 200 files."""
    rows: list[dict[str, float]] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        page.wait_for_timeout(POLL_MS)
        text = page.locator("[data-sums]").inner_text().replace(",", "")
        n_finished = sum(int(n) for n in re.findall(r"(\d+) (?:done|failed)", text))
        if n_finished >= min(EVERY * (len(rows) + 1), N_FILES):
            rows.append(
                {
                    "n_finished": n_finished,
                    "server_mb": _memory_mb(server),
                    "heap_mb": page.evaluate("performance.memory.usedJSHeapSize") / 1e6,
                    "n_elements": page.evaluate("document.querySelectorAll('*').length"),
                }
            )
            print(rows[-1], flush=True)
        if n_finished == N_FILES:
            break
    return rows


def _memory_mb(server: Server) -> float:
    assert server.process is not None  # noqa: S101 - it runs
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    match = re.search(r"VmRSS:\s+(\d+)", status)
    return int(match[1]) / 1024 if match else 0.0
