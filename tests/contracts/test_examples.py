"""The packages of `examples/` are installed by pip as the quick tests have them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from tests.fixtures.examples import EXAMPLES


def list_entry_points(folder: Path) -> set[tuple[str, str, str]]:
    points = (point for package in distributions(path=[str(folder)]) for point in package.entry_points)
    return {(point.group, point.name, point.value) for point in points}


@pytest.mark.ops
def test_pip_installs_the_same_entry_points(installed_examples: Path, tmp_path: Path) -> None:
    sources = [shutil.copytree(path, tmp_path / path.name) for path in EXAMPLES]
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile", "--disable-pip-version-check"]
    target = tmp_path / "installed"
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", target, *sources], check=True)
    assert len(list_entry_points(target)) == len(EXAMPLES)
    assert list_entry_points(installed_examples) == list_entry_points(target)
    for module in installed_examples.glob("*.py"):
        assert (target / module.name).read_bytes() == module.read_bytes()
