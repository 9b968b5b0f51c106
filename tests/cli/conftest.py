"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from tests.fixtures.sounds import tone


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, tone(), 16_000)
    return folder
