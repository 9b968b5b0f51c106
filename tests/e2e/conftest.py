"""Recordings for training, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dawnchorus.audio.write import write_recording
from dawnchorus.data.synthesis.datasets import SyntheticPlan, synthetic_recordings
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def labeled_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two birds that nobody knows, and the same background without them: a folder for each."""
    folder = tmp_path_factory.mktemp("lessons")
    plan = SyntheticPlan(n_species=2, n_clips=8, n_soundscapes=0, clip_s=3)
    paths = []
    for relative, scene in synthetic_recordings(plan, seed=5):
        path = folder / relative.parts[-2] / relative.name
        path.parent.mkdir(exist_ok=True)
        write_recording(path, scene.samples, rate_hz=scene.rate_hz)
        paths.append(path)
    return paths


@pytest.fixture(scope="session")
def dawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole synthetic dawn chorus of the demo, as a recording."""
    scene = dawn_chorus(seed=1)
    path = tmp_path_factory.mktemp("dawn") / "DAWN_20260501_034500.wav"
    write_recording(path, scene.samples, rate_hz=scene.rate_hz)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, with a microphone that plays a tone."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        launched = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield launched
        launched.close()
