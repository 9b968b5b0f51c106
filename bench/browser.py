"""Chromium and a tiny model, for the benchmarks of the server's pages."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph

from dawnchorus.models.graphs.wrapping import wrap_model


@dataclass(frozen=True)
class PageBench:
    """What a benchmark of pages starts from."""

    browser: Browser
    model: Path
    """Bundle of a model that scores the level of each window."""
    folder: Path
    """An empty folder, which goes at the end."""


@contextmanager
def page_bench(*arguments: str) -> Iterator[PageBench | None]:
    """Start chromium with additional `arguments`; None, and a line that says so, where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("  there is no chromium: left out")
        yield None
        return
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        graph = level_graph(folder / "level.onnx", window_samples=16_000)
        bundle = wrap_model(graph, folder / "bundle", labels=LEVEL_LABELS, description=LEVEL)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *arguments])
        yield PageBench(browser, bundle.folder, folder)
        browser.close()
