"""The command `dawnchorus retrain`: a new model from labeled recordings, compared with the current one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from dawnchorus.cli.log import LinesHandler, show_log
from dawnchorus.cli.options import models_folder_option, workers_option
from dawnchorus.cli.present import announce_model, console, print_table
from dawnchorus.cli.train import print_epoch
from dawnchorus.errors import MissingExtraError
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.types import Progress

if TYPE_CHECKING:
    from dawnchorus.retraining_messages import RetrainOutcome


@click.command("retrain")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--dataset", type=click.Path(path_type=Path), help="Folder of a data set, or with a subfolder per species."
)
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="Model in use, with which the new model is compared."
)
@click.option("--backbone", help="Model that the new one is built on.  [default: the model in use]")
@click.option(
    "--new-class", "new_classes", multiple=True, metavar="NAME", help="Label that becomes a new class; repeatable."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Output folder of the new model.  [default: retrained, in the data set's folder]",
)
@click.option("--overwrite", is_flag=True, help="Replace a finished retraining in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print each step and the outcome as one line of JSON.")
@click.option(
    "--check",
    "only_check",
    is_flag=True,
    help="Check the settings and the labels of --dataset; train nothing.",
)
@models_folder_option
@workers_option
def command(
    *,
    overrides: tuple[str, ...],
    dataset: Path | None,
    model: str,
    backbone: str | None,
    new_classes: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    only_check: bool,
    models_folder: Path | None,
    workers: int,
) -> None:
    """Train a new model on labeled recordings, and compare it with the model in use (--model).

    A quarter of each species' recordings is held out, and both models are compared on it. KEY=VALUE are settings of
    `dawnchorus train`, such as model=efficientnet. An interrupted run is resumed.

    Labels are scientific or common names: of classes of the model in use or of the backbone, or given by --new-class.
    """
    try:
        from dawnchorus.retraining_messages import RetrainEvent, RetrainProcessRequest
        from dawnchorus.training.compose import refuse_contradictions
        from dawnchorus.training.job import EventPrinter, check_request, print_event, print_failure, run_request
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Retraining") from error

    if dataset is None and not only_check:
        raise click.UsageError("Missing option '--dataset'.")
    refuse_contradictions(overrides)
    store = ModelStore(models_folder or default_folder())
    announce_model(store, model)
    request = RetrainProcessRequest(
        dataset=dataset,
        model=model,
        backbone=backbone,
        new_classes=new_classes,
        overrides=overrides,
        only_check=only_check,
        folder=out,
        overwrite=overwrite,
        models_folder=store.folder,
        n_workers=workers,
    )
    output: EventPrinter | _Lines = EventPrinter() if as_json else _Lines()
    show_log(output)
    with print_failure() if as_json else nullcontext():
        if only_check:
            check_request(request)
            return
        outcome = run_request(request, report=output.report)
    if as_json:
        print_event(RetrainEvent(stage="done", outcome=outcome))
    else:
        _present(outcome)


class _Lines(LinesHandler):
    """Log handler that prints a line for each stage, epoch and log message."""

    def __init__(self) -> None:
        super().__init__()
        self._screen, self._stage = console(), ""

    def report(self, progress: Progress) -> None:
        """Print the name of a new stage, or the metrics of an epoch."""
        if progress.metrics:
            print_epoch(self._screen, progress)
        elif progress.stage != self._stage:
            self._screen.print(f"{progress.stage}: {progress.total:.0f} {progress.unit}", markup=False)
        self._stage = progress.stage


def _present(outcome: RetrainOutcome) -> None:
    report = outcome.report
    table = Table(box=None)
    for column in ("species", "trained on", "held out", "in use", "new"):
        table.add_column(column, justify="left" if column == "species" else "right")
    for row in report["species"]:
        values = [row[f"{name}_average_precision"] for name in ("active", "new")]
        cells = ["does not know it" if value is None else f"{value:.3f}" for value in values]
        table.add_row(row["common_name"], str(row["n_train_recordings"]), str(row["n_held_out"]), *cells)
    means = [report["average_precision"][name] for name in ("active", "new")]
    table.add_row(
        "average precision", str(report["n_train_recordings"]), str(report["n_held_out"]), *(f"{m:.3f}" for m in means)
    )
    print_table(table)
    verdict = "use the new one" if outcome.meets_promotion_rule else f"keep the old one: {'; '.join(outcome.reasons)}"
    click.echo(f"Advice: {verdict}")
    click.echo(outcome.bundle)
