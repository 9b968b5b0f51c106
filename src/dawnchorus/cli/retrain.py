"""`dawnchorus retrain`."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from dawnchorus.cli.log import LinesHandler, sentence, show_log
from dawnchorus.cli.options import models_folder_option, workers_option
from dawnchorus.cli.present import announce_model, console, print_table
from dawnchorus.cli.train import print_epoch
from dawnchorus.data.classes import with_known_classes
from dawnchorus.errors import DawnChorusError, MissingExtraError
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.types import Progress

if TYPE_CHECKING:
    from dawnchorus.training.retraining import RetrainingResult

PARENT_GONE = 75


@click.command("retrain")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--dataset", type=click.Path(path_type=Path), help="A data set, or a folder per species.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="The model in use, to compare with.")
@click.option("--backbone", help="What the new model is built on.  [default: the model in use]")
@click.option(
    "--new-class", "new_classes", multiple=True, metavar="NAME", help="A label that is a new class; repeatable."
)
@click.option("--out", type=click.Path(path_type=Path), help="Its folder.  [default: retrained, beside the data]")
@click.option("--json", "as_json", is_flag=True, help="Print every step, and the outcome, as a line of JSON.")
@click.option(
    "--check",
    "only_check",
    is_flag=True,
    help="Check the settings and the labels of --dataset; train nothing.",
)
@click.option("--supervised", is_flag=True, hidden=True, help="End when the standard input does.")
@click.option("--negatives", type=click.Path(path_type=Path), hidden=True, help="Where other sounds are made.")
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
    as_json: bool,
    only_check: bool,
    supervised: bool,
    negatives: Path | None,
    models_folder: Path | None,
    workers: int,
) -> None:
    """Train a new model on labelled recordings, and compare it with the current one.

    A quarter of each species' recordings is kept back, and both models are compared on it. KEY=VALUE are settings of
    `dawnchorus train`, such as model=efficientnet. What was interrupted goes on where it stopped.

    Labels must be classes of the model in use or of the backbone, by either name, or be named by --new-class.
    """
    if supervised:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from dawnchorus.training.compose import refuse_contradictions
        from dawnchorus.training.retraining import check_settings, retrain
        from dawnchorus.training.retraining_folder import copy_table, load_labeled_recordings, write_report
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Retraining") from error

    if not supervised:  # a server's own settings come before those of a request, which win
        refuse_contradictions(overrides)
    store = ModelStore(models_folder or default_folder())
    announce_model(store, model)
    if only_check:
        check_settings(store.open(model), overrides, backbone=backbone or model, store=store)
        if dataset is None:
            return
    if dataset is None:
        raise click.UsageError("Missing option '--dataset'.")
    output: _JsonLines | _Lines = _JsonLines() if as_json else _Lines()
    show_log(output)
    try:
        active = store.open(model)
        labels = [*active.labels, *(store.open(backbone).labels if backbone else ())]
        source = load_labeled_recordings(
            dataset,
            [*labels, *map(parse_label, new_classes)],
            n_workers=workers,
        )
        known = source.with_rows(with_known_classes(source.rows, labels, new_classes))
        if only_check:
            return
        folder = out or source.folder / "retrained"
        table = copy_table(known, folder)
        result = retrain(
            table,
            active,
            folder,
            backbone=backbone or model,
            store=store,
            negatives_folder=negatives or store.folder,
            started=datetime.now(),  # noqa: DTZ005 - a folder's name, in the user's own time
            overrides=overrides,
            n_workers=workers,
            report=output.report,
        )
    except DawnChorusError as error:
        if as_json:
            _print({"stage": "failed", "error": error.reason})
        raise
    fields = {
        "bundle": str(result.bundle.folder.absolute()),
        "bundle_id": result.bundle.id,
        "meets_promotion_rule": result.meets_promotion_rule,
        "reasons": list(result.reasons),
        "report": result.report,
    }
    write_report(folder, fields)
    if as_json:
        _print({"stage": "done", "outcome": fields})
    else:
        _present(result)


def _end_with_parent() -> None:
    """End with the parent process, also if that is killed."""
    sys.stdin.buffer.read()
    os._exit(PARENT_GONE)


def _print(fields: dict[str, object]) -> None:
    click.echo(json.dumps(fields, ensure_ascii=False))
    sys.stdout.flush()


_SHARES = {"checking": (0.0, 0.1), "training": (0.3, 0.45), "comparing": (0.8, 0.1)}
"""Start and length of each stage, as shares of a retraining."""


class _JsonLines(logging.Handler):
    """Stages, epochs and sentences as lines of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._position: dict[str, object] = {"stage": "checking", "progress": 0.0}

    def report(self, progress: Progress) -> None:
        """Print the progress, with the epoch where one has ended."""
        start, length = _SHARES[progress.stage]
        share = start + length * progress.done / max(progress.total, 1)
        self._position = {"stage": progress.stage, "progress": share}
        fields: dict[str, object] = {}
        if progress.metrics:
            metrics = {name: round(value, 5) for name, value in progress.metrics.items() if math.isfinite(value)}
            fields = {"epoch": int(progress.done), "n_epochs": int(progress.total), "metrics": metrics}
            fields |= {} if progress.left_s is None else {"left_s": progress.left_s}
        _print({**self._position, **fields})

    def emit(self, record: logging.LogRecord) -> None:
        _print({**self._position, "message": sentence(record)})


class _Lines(LinesHandler):
    """A line for each stage, epoch and sentence."""

    def __init__(self) -> None:
        super().__init__()
        self._screen, self._stage = console(), ""

    def report(self, progress: Progress) -> None:
        """Print a new stage, or the epoch that has ended."""
        if progress.metrics:
            print_epoch(self._screen, progress)
        elif progress.stage != self._stage:
            self._screen.print(f"{progress.stage}: {progress.total:.0f} {progress.unit}", markup=False)
        self._stage = progress.stage


def _present(result: RetrainingResult) -> None:
    report = result.report
    table = Table(box=None)
    for column in ("species", "learned from", "kept back", "in use", "new"):
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
    verdict = "use the new one" if result.meets_promotion_rule else f"keep the old one: {'; '.join(result.reasons)}"
    click.echo(f"Advice: {verdict}")
    click.echo(result.bundle.folder)
