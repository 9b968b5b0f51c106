"""The command `dawnchorus train`: training of a model on a data set."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from dawnchorus.cli.log import LinesHandler, show_log
from dawnchorus.cli.options import config_dir_option
from dawnchorus.cli.present import console
from dawnchorus.errors import DawnChorusError, InputError, MissingExtraError
from dawnchorus.types import Progress

if TYPE_CHECKING:
    from dawnchorus.training.runs import TrainingRun


@click.command("train")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--resume", "resumed", type=click.Path(path_type=Path), help="Folder of an interrupted run to resume.")
@click.option("--multirun", is_flag=True, help="Train every combination of values such as optimizer.lr=1e-3,1e-4.")
@config_dir_option
@click.option("--init-config", type=click.Path(path_type=Path), help="Write the built-in YAML files into a new folder.")
@click.option("--options", "show_options", is_flag=True, help="Show the choices of every group, and the defaults.")
@click.option("--quiet", "-q", is_flag=True, help="Print no progress, only notes and failures.")
def command(
    *,
    overrides: tuple[str, ...],
    resumed: Path | None,
    multirun: bool,
    config_dir: Path | None,
    init_config: Path | None,
    show_options: bool,
    quiet: bool,
) -> None:
    """Train a model on a split data set, and write its bundle.

    Example: dawnchorus train model=efficientnet data=my-set

    Each run has a folder in runs/: configuration, environment, curves, checkpoints, bundle. Show them with `dawnchorus
    runs`. Groups: model, data, optimizer, scheduler, augment, loss, trainer, tracker, profiler, paths, experiment.
    """
    try:
        from dawnchorus.training import compose, trainer
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Training") from error

    if show_options:
        _show_options(compose.available_choices(config_dir))
        return
    if init_config is not None:
        compose.write_config_dir(init_config)
        click.echo(init_config)
        return
    screen = Console(quiet=True) if quiet else console()
    notes = console()
    show_log(LinesHandler())
    if resumed is not None:
        if overrides or config_dir is not None:
            raise InputError("--resume: the run resumes with its own settings; expected no other settings.")
        _done(trainer.resume(resumed, report=partial(print_epoch, screen)), screen)
        return
    compose.refuse_contradictions(overrides)
    jobs = list(compose.sweep(overrides)) if multirun else [list(overrides)]
    configs = [compose.compose_config(job, config_dir=config_dir) for job in jobs]
    print_config_dir_notes(config_dir, notes)
    failed = 0
    for job, config in zip(jobs, configs, strict=True):
        if len(jobs) > 1:
            screen.rule(" ".join(job))
        try:
            run = trainer.train(
                config,
                started=datetime.now(),  # noqa: DTZ005 - a folder's name, in the user's own time
                overrides=job,
                report=partial(print_epoch, screen),
            )
        except DawnChorusError as error:
            if len(jobs) == 1:
                raise
            failed += 1
            notes.print(f"failed: {' '.join(job)}: {error}", markup=False)
        else:
            _done(run, screen)
    if failed:
        sys.exit(1)


def print_config_dir_notes(config_dir: Path | None, screen: Console) -> None:
    """Print which files of the user's configuration folder replace built-in ones, and which are not read.

    Nothing is printed if `config_dir` is None.

    Raises:
        InputError: the folder does not exist, or has no folder of a configuration group.
    """
    from dawnchorus.training.compose import describe_config_dir

    for note in describe_config_dir(config_dir) if config_dir is not None else ():
        screen.print(note, markup=False)


def print_epoch(screen: Console, progress: Progress) -> None:
    """Print a line on a finished epoch: its number, its metrics, and the remaining time of the training."""
    values = "  ".join(f"{name} {value:.3f}" for name, value in sorted(progress.metrics.items()))
    left_s = progress.left_s or 0.0
    left = f"{left_s / 60:.0f} min" if left_s >= 90 else f"{left_s:.0f} s"
    screen.print(f"epoch {progress.done:3.0f} of {progress.total:.0f}  {values}  {left} left", markup=False)


def _done(run: TrainingRun, screen: Console) -> None:
    from dawnchorus.training.processes import is_first_process

    if not is_first_process():
        return
    metadata = run.metadata
    screen.print(
        f"Trained in {metadata['fit_s']:.1f} s on {metadata['devices']} ({metadata['features_s']:.1f} s for features). "
        f"Its folder: {run.folder}",
        markup=False,
    )
    click.echo(run.bundle)


def _show_options(groups: dict[str, tuple[str, ...]]) -> None:
    for group, choices in groups.items():
        click.echo(f"{group:<12}{', '.join(choices)}")
