"""Fixtures of the tests of runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.moto_server import VARIABLES, serving_s3

BUCKET = "birds"


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two recordings, one of them in a folder."""
    return [tmp_path / "sounds" / "a.wav", tmp_path / "sounds" / "b" / "c.wav"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for output."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving_s3(BUCKET) as url:
        yield url


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An archive's folder on a disk, and in a store; programs that are started inherit what opens it."""
    if request.param == "folder":
        return str(tmp_path / "archive")
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": request.getfixturevalue("endpoint")}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"
