"""Fixtures of the tests of archives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.archives import write_sounds

from dawnchorus.archive.archive import Archive, open_archive
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.models.bundle import Bundle


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings of two sites and two months, of three seconds, and a broken one."""
    return write_sounds(tmp_path_factory.mktemp("archived") / "sounds")


@pytest.fixture(scope="session")
def kept(sounds: Path, band_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the recordings, in units of two; tests may only read it."""
    folder = tmp_path_factory.mktemp("kept") / "archive"
    archive_recordings(
        sounds,
        folder,
        model=band_bundle.folder,
        keep=["embeddings"],
        analyses=["health"],
        unit_size=UnitSize(max_recordings=2),
        workers=1,
    )
    return folder


@pytest.fixture
def copied(kept: Path, tmp_path: Path) -> Archive:
    """A copy of the archive, which a test may change."""
    return open_archive(shutil.copytree(kept, tmp_path / "archive"))


@pytest.fixture
def rows() -> Callable[..., list[tuple[object, ...]]]:
    """Rows of a reader, sorted."""
    return lambda reader, *columns: sorted(
        tuple(row[name] for name in columns) for row in reader.read_all().to_pylist()
    )
