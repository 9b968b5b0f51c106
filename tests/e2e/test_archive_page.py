"""The recipes of docs/ARCHIVE.md for several processes run as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.archives import table_rows, write_sounds

from dawnchorus.archive.archive import open_archive
from dawnchorus.archive.maintenance import check_archive
from dawnchorus.identification import Options, identify
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore

pytestmark = pytest.mark.ops

PAGE = Path(__file__).parents[2] / "docs" / "ARCHIVE.md"
RECIPES = re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.split()[0])
def test_recipes_give_the_rows_of_a_table(
    recipe: str, band_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`birdnet` is a tiny model; the broken recording ends some processes with 3."""
    if recipe.startswith("parallel") and shutil.which("parallel") is None:
        pytest.skip("GNU parallel is not on this machine")
    write_sounds(tmp_path / "recordings")
    store = ModelStore(tmp_path / "models")
    shutil.copytree(band_bundle.folder, store.bundle_folder("birdnet"))
    program = tmp_path / "bin" / "dawnchorus"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dawnchorus "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DAWNCHORUS_MODELS": str(store.folder)}
    done = subprocess.run(["sh", "-c", recipe], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "failed: recordings/B_20260503_040000.wav" in done.stderr
    monkeypatch.chdir(tmp_path)
    expected = table_rows(identify("recordings", Options(min_score=0.25), model=band_bundle.folder).to_arrow())
    archive = open_archive("results")
    model = {"model": "bands", "bundle_id": band_bundle.id}
    assert table_rows(archive.detections(min_score=0.25)) == [row | model for row in expected]
    assert len(archive.recordings().read_all()) == 5
    assert check_archive(archive).is_whole
