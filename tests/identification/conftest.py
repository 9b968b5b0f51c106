"""Fixtures of the tests of runs."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two recordings, one of them in a folder."""
    return [tmp_path / "sounds" / "a.wav", tmp_path / "sounds" / "b" / "c.wav"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for output."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"
