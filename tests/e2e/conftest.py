"""Lessons that many tests teach."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.audio.write import write_recording
from dawnchorus.data.synthesis.datasets import SyntheticPlan, synthetic_recordings
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus


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
