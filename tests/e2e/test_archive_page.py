"""The recipes of docs/ARCHIVE.md for several processes run as they are printed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.fixtures.archives import check_equal_to_table, program_environment, write_sounds

from dawnchorus.models.bundle import Bundle

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
    environment = program_environment(tmp_path, band_bundle)
    done = subprocess.run(["sh", "-c", recipe], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "failed: recordings/B_20260503_040000.wav" in done.stderr
    monkeypatch.chdir(tmp_path)
    check_equal_to_table(Path("results"), "recordings", band_bundle)
