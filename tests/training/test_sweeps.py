"""Sweep files of Weights & Biases: their lines become settings, and what has no equal is named."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from tests.fixtures.commands import Command
from tests.fixtures.training import SMALL

from dawnchorus.errors import InputError
from dawnchorus.training.runs import find_runs, read_config
from dawnchorus.training.sweeps import read_sweep
from dawnchorus.training.tune import tune

SWEEP = """\
program: src/train.py
name: autobird-sweep
method: random
metric: {name: val_loss, goal: minimize}
run_cap: 2
early_terminate: {type: hyperband}
parameters:
  optimizer.lr: {distribution: log_uniform_values, min: 1e-5, max: 3.0e-3}
  trainer.batch_size: {values: [4, 8]}
  trainer.epochs: {min: 1, max: 3}
  augment:
    parameters:
      gain_db: {min: 0.0, max: 6}
      mixup_p: {distribution: q_uniform, min: 0, max: 0.5, q: 0.25}
  model.hidden: {values: [[16], [32, 16]]}
  loss.class_weights: {value: true}
  name: {value: "it's, a name"}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_every_line_of_a_sweep_becomes_a_setting(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, SWEEP))
    assert sweep.overrides == (
        "optimizer.lr=tag(log,interval(1e-05,0.003))",
        "trainer.batch_size=choice(4,8)",
        "trainer.epochs=interval(1,3)",
        "augment.gain_db=interval(0.0,6.0)",
        "augment.mixup_p=choice(0.0,0.25,0.5)",
        "model.hidden=choice([16],[32,16])",
        "loss.class_weights=true",
        "name='it\\'s, a name'",
    )
    assert (sweep.method, sweep.metric, sweep.n_trials) == ("random", "val_loss", 2)
    assert sweep.unused == ("early_terminate", "program")
    assert sweep.overrides_with(["trainer.batch_size=2", "data=x"])[-2:] == ("trainer.batch_size=2", "data=x")
    assert "trainer.batch_size=choice(4,8)" not in sweep.overrides_with(["trainer.batch_size=2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: random\n", "expected a sweep with method, metric and parameters"),
        ("method: [\n", "expected YAML"),
        ("method: grid\nparameters: {a: {value: 1}, b: {value: 1}, a: {value: 2}}\n", "'a' is there twice"),
        ("method: hyperband\nparameters: {}\n", "method: expected one of bayes, random, grid, got 'hyperband'"),
        ("method: grid\nparameters: {a: 3}\n", r"parameters\.a: expected value, values, or min and max, got 3"),
        ("method: grid\nparameters: {a: {distribution: normal, min: 0, max: 1}}\n", "distribution: expected one of"),
        ("method: grid\nparameters: {a: {values: [1, 2], probabilities: [0.1, 0.9]}}\n", "probabilities"),
        ("method: grid\nparameters: {a: {mu: 0, sigma: 1}}\n", "min and max as numbers, got None"),
        ("method: bayes\nmetric: {name: acc}\nparameters: {}\n", r"metric\.name: expected one of val_auc.*got 'acc'"),
        (
            "method: bayes\nmetric: {name: val_auc, goal: minimize}\nparameters: {}\n",
            r"metric\.goal: expected 'maximize' for val_auc",
        ),
        ("method: bayes\nrun_cap: many\nparameters: {}\n", "run_cap: expected a whole number"),
    ],
)
def test_what_has_no_equal_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_sweep(written(tmp_path, text))


@pytest.mark.ops
def test_grid_trains_each_run_once_and_resumes(birds: Path, tmp_path: Path, command: Command) -> None:
    path = written(
        tmp_path,
        "method: grid\nmetric: {name: val_loss}\nparameters:\n"
        "  optimizer.lr: {values: [0.01, 0.001]}\n  trainer.batch_size: {value: 8}\n",
    )
    runs = tmp_path / "runs"
    settings = [*SMALL[:-1], "trainer.epochs=1", f"data={birds}", f"paths.runs={runs}", "trainer.accelerator=cpu"]
    assert command("tune", "--sweep", path, *settings, "--trials", "1").returncode == 0
    done = command("tune", "--sweep", path, *settings)
    assert done.returncode == 0, done.stderr
    tried = [
        (config["optimizer"]["lr"], config["trainer"]["batch_size"]) for config in map(read_config, find_runs(runs))
    ]
    assert sorted(tried) == [(0.001, 8), (0.01, 8)]
    best = min(find_runs(runs), key=lambda run: run.metrics["val_loss"])
    assert f"optimizer.lr={read_config(best)['optimizer']['lr']}" in done.stdout.decode()
    with pytest.raises(InputError, match=r"optimizer\.lr: expected values to make a grid of"):
        tune([*settings, "optimizer.lr=interval(0.1,0.2)"], method="grid", clock=datetime.now)
