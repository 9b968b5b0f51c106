"""Recipes, trained and measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fixtures.commands import Command

from dawnchorus.models.bundle import read_bundle


@pytest.mark.ops
def test_the_leaderboard_trains_and_measures_recipes(birds: Path, tmp_path: Path, command: Command) -> None:
    runs = tmp_path / "runs"
    board = command(
        "leaderboard",
        birds,
        "--recipe",
        "acoustic-95",
        "trainer.epochs=1",
        f"paths.runs={runs}",
        "--seeds",
        "2",
        "--random-split",
        "--out",
        tmp_path / "b.json",
    )
    assert board.returncode == 0, board.stderr
    (entry,) = json.loads((tmp_path / "b.json").read_text(), parse_constant=pytest.fail)
    assert entry["recipe"] == "acoustic-95"
    assert entry["ms_per_5_s"] > 0
    assert len(entry["runs"]) == 2
    singles = [json.loads((runs / name / "run.json").read_text()) for name in entry["runs"]]
    assert entry["n_trainable_parameters"] == sum(single["n_trainable_parameters"] for single in singles)
    assert [single["metrics"]["test_top_1"] for single in singles] == [each["top_1"] for each in entry["by_seed"]]
    assert read_bundle(Path(entry["bundle"])).info.family == "ensemble"
    assert 0 <= entry["grouped_split_accuracy"] <= 1
