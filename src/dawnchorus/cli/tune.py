"""The command `dawnchorus tune`: hyperparameter search."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from dawnchorus.cli.log import LIBRARY, LinesHandler, show_log
from dawnchorus.cli.options import config_dir_option
from dawnchorus.cli.present import console, print_table
from dawnchorus.cli.train import print_config_dir_notes
from dawnchorus.errors import MissingExtraError

if TYPE_CHECKING:
    from dawnchorus.training.tune import Method, Metric

METRICS: tuple[Metric, ...] = ("val_auc", "val_accuracy", "val_loss")
METHODS: tuple[Method, ...] = ("tpe", "random", "grid")


@click.command("tune")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Number of trials, including earlier ones.  [default: 20, the sweep's run_cap, or all of a grid]",
)
@click.option("--metric", type=click.Choice(METRICS), help=f"Metric to optimize.  [default: {METRICS[0]}]")
@click.option("--method", type=click.Choice(METHODS), help=f"Search method.  [default: {METHODS[0]}]")
@click.option("--sweep", "sweep_path", type=click.Path(path_type=Path), help="File of a Weights & Biases sweep.")
@click.option("--folds", is_flag=True, help="Train each trial on every fold of a data set that is split into folds.")
@config_dir_option
@click.option("--quiet", "-q", is_flag=True, help="No progress; notes and failures only.")
def command(
    *,
    overrides: tuple[str, ...],
    trials: int | None,
    metric: Metric | None,
    method: Method | None,
    sweep_path: Path | None,
    folds: bool,
    config_dir: Path | None,
    quiet: bool,
) -> None:
    """Search the best values of training settings.

    Example: dawnchorus tune model=mel_cnn data=my-set 'optimizer.lr=tag(log,interval(1e-4,1e-2))'
    'model.mel.n_mels=choice(32,64,128)'

    The best settings are printed in the end, as arguments for `train`. The same command resumes an interrupted search.
    Settings on the command line take precedence over those of a sweep file.
    """
    try:
        from dawnchorus.training.compose import refuse_contradictions
        from dawnchorus.training.sweeps import read_sweep
        from dawnchorus.training.tune import tune
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Tuning") from error

    refuse_contradictions(overrides)
    notes = console()

    lines = LinesHandler(logging.ERROR if quiet else logging.INFO)
    lines.addFilter(logging.Filter(f"{LIBRARY}.training.tune"))  # of trials, not of their training
    show_log(lines)
    print_config_dir_notes(config_dir, notes)
    if sweep_path is not None:
        sweep = read_sweep(sweep_path)
        if sweep.unused:
            notes.print(f"{sweep_path}: not used: {', '.join(sweep.unused)}.", markup=False)
        overrides = sweep.overrides_with(overrides)
        trials, metric, method = trials or sweep.n_trials, metric or sweep.metric, method or sweep.method
    metric = metric or METRICS[0]
    study = tune(
        overrides,
        config_dir=config_dir,
        n_trials=trials,
        metric=metric,
        method=method or METHODS[0],
        by_fold=folds,
        clock=datetime.now,
    )
    table = Table(box=None)
    for column in ("trial", metric, "settings"):
        table.add_column(column)
    sign = 1 if metric == "val_loss" else -1
    done = [trial for trial in study.trials if trial.state == "complete"]
    for trial in sorted(done, key=lambda trial: sign * (trial.value or 0))[:10]:
        table.add_row(str(trial.number + 1), f"{trial.value:.4f}", " ".join(trial.overrides))
    if not quiet:
        print_table(table, stderr=True)
    click.echo(" ".join(study.best.overrides))
