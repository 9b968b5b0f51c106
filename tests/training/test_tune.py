"""Tuning: proposals become settings of runs, a study goes on, and wrong requests are named."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from tests.fixtures.commands import Command
from tests.fixtures.training import SMALL

from dawnchorus.data.recordings import read_table, write_table
from dawnchorus.errors import InputError
from dawnchorus.training.runs import find_runs, read_config
from dawnchorus.training.tune import tune
from dawnchorus.types import Progress

CNN = (*SMALL[:-1], "trainer.epochs=1")  # whose batches the tests choose


def test_trials_are_runs_and_a_study_resumes(birds: Path, tmp_path: Path, command: Command) -> None:
    runs = tmp_path / "runs"
    settings = [
        *CNN, f"data={birds}", f"paths.runs={runs}", "optimizer.lr=tag(log,interval(1e-4,1e-1))",
        "trainer.batch_size=4,8", "optimizer.weight_decay=choice(0,0.001)", "trainer.accelerator=cpu",
    ]  # fmt: skip
    first = command("tune", *settings, "--trials", "1")
    assert first.returncode == 0, first.stderr
    assert len(list(find_runs(runs))) == 1
    second = command("tune", *settings, "--trials", "2")
    assert second.returncode == 0, second.stderr
    configs = [read_config(run) for run in find_runs(runs)]
    assert len(configs) == 2, "what the study had is not made again"
    rates = [config["optimizer"]["lr"] for config in configs]
    assert len(set(rates)) == 2
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert {config["trainer"]["batch_size"] for config in configs} <= {4, 8}
    best = max(find_runs(runs), key=lambda run: run.metrics["val_auc"])
    (printed,) = second.stdout.decode().splitlines()
    chosen = dict(part.split("=") for part in printed.split(" "))
    assert list(chosen) == ["optimizer.lr", "trainer.batch_size", "optimizer.weight_decay"]
    assert any(
        run.metrics["val_auc"] == best.metrics["val_auc"]
        and read_config(run)["optimizer"]["lr"] == pytest.approx(float(chosen["optimizer.lr"]))
        for run in find_runs(runs)
    )
    assert command("train", *CNN, f"data={birds}", f"paths.runs={runs}", *printed.split(" ")).returncode == 0


@pytest.mark.ops
def test_folds_are_averaged(birds: Path, tmp_path: Path, command: Command) -> None:
    data = tmp_path / "set"
    shutil.copytree(birds, data, ignore=shutil.ignore_patterns("clips"))
    table = read_table(birds)
    write_table(read_table(data).with_rows(replace(row, path=str(table.file(row).resolve())) for row in table.rows))
    assert command("data", "split", data, "--folds", "2").returncode == 0
    study = tune(
        [*CNN, f"data={data}", f"paths.runs={tmp_path / 'runs'}", "optimizer.lr=0.01,0.02"],
        n_trials=1,
        by_fold=True,
        clock=datetime.now,
    )
    values = [run.metrics["val_auc"] for run in find_runs(tmp_path / "runs")]
    assert len(values) == 2
    assert study.best.value == pytest.approx(sum(values) / 2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=1e-3"], "several values"),
        (["optimizer.lr=interval(1,0)"], "from a smaller to a larger"),
        (["optimizer.lr=tag(log,interval(0,1))"], "above 0 for log"),
        (["trainer.batch_size=interval(2,8)"], "trainer.batch_size: Input should be a valid integer"),
        (["optimiser.lr=choice(1,2)"], "there is no such key. Did you mean 'optimizer'"),
    ],
)
def test_what_cannot_be_tuned_is_named(overrides: list[str], message: str, birds: Path, tmp_path: Path) -> None:
    settings = [*CNN, f"data={birds}", f"paths.runs={tmp_path / 'runs'}", *overrides]
    with pytest.raises(InputError, match=message):
        tune(settings, n_trials=1, clock=datetime.now)


def test_a_trial_that_cannot_be_trained_fails_and_the_next_one_follows(
    birds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = [*CNN, f"data={birds}", f"paths.runs={tmp_path / 'runs'}", "model.window_s=choice(2,1000)", "seed=5"]
    progress: list[Progress] = []
    study = tune(settings, n_trials=4, clock=datetime.now, report=progress.append)
    failures = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    states = [trial.state for trial in study.trials]
    assert set(states) == {"complete", "fail"}
    assert states.count("fail") == len(failures)
    assert all("window_s" in reason for reason in failures)
    assert [(each.done, each.total) for each in progress] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert ["val_auc" in each.metrics for each in progress] == [state == "complete" for state in states]
    assert study.best.overrides == ("model.window_s=2",)


def test_folds_need_folds(birds: Path, tmp_path: Path) -> None:
    settings = [*CNN, f"data={birds}", f"paths.runs={tmp_path / 'runs'}", "optimizer.lr=1,2"]
    with pytest.raises(InputError, match="--folds"):
        tune(settings, n_trials=1, by_fold=True, clock=datetime.now)
