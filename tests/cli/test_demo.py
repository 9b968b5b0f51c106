"""The command `demo`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.fixtures.commands import Command


@pytest.mark.ops
def test_the_demo_finds_at_least_five_species_with_at_most_two_false(tmp_path: Path, command: Command) -> None:
    done = command("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = re.search(r"(\d+) of (\d+) species detected at the right times, (\d+) false", done.stdout.decode())
    assert said is not None
    n_right, n_species, n_false = map(int, said.groups())
    assert n_species >= 6
    assert n_right >= 5
    assert n_false <= 2
    written = {path.name for path in (tmp_path / "dawnchorus-demo").iterdir()}
    assert {"DAWN_20260501_034500.wav", "DAWN_20260501_034500.wav.png", "index.html", "detections.csv"} <= written
    assert {"detections.selections.txt", "truth.selections.txt"} <= written
    assert command("demo", cwd=tmp_path).returncode == 0, "a second time replaces the first"
