"""Checkpoints and the log of epochs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from tests.fixtures.training import SMALL, Train

from dawnchorus.errors import OutputError
from dawnchorus.training.operators import declare_vision_operators


def test_each_epoch_has_accuracy_on_training_clips_and_what_it_cost(run_training: Train) -> None:
    run = run_training(*SMALL, "trainer.epochs=2")
    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["epoch_s"]) > 0
        assert float(row["cpu_cores"]) >= 0
        assert float(row["peak_memory_mb"]) > 10


def test_a_checkpoint_that_does_not_fit_leaves_the_last_good_one(tmp_path: Path) -> None:
    declare_vision_operators()
    from dawnchorus.training.callbacks import WholeCheckpoints

    resource = pytest.importorskip("resource")
    path, writer = tmp_path / "last.ckpt", WholeCheckpoints()
    writer.save_checkpoint({"state_dict": {"w": torch.zeros(10)}}, path)
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            writer.save_checkpoint({"state_dict": {"w": torch.zeros(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert len(torch.load(path, weights_only=True)["state_dict"]["w"]) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_log_of_a_continued_run_is_whole(tmp_path: Path) -> None:
    declare_vision_operators()
    from dawnchorus.training.callbacks import write_metrics

    for epoch, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (3, 0.71), (4, 0.6)):
        write_metrics(tmp_path / "metrics.csv", epoch, {"loss": loss})
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines == ["epoch,loss", "1,0.9", "2,0.8", "3,0.71", "4,0.6"]
