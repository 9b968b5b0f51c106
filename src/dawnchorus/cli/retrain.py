"""`dawnchorus retrain`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from dawnchorus.cli.options import models_folder_option, workers_option
from dawnchorus.cli.present import MAX_LISTED, announce_model, console, print_table
from dawnchorus.data.classes import with_known_classes
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.recordings import RecordingsTable, read_table, table_path
from dawnchorus.errors import DawnChorusError, MissingExtraError
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.taxonomy.labels import Label, parse_label

if TYPE_CHECKING:
    from dawnchorus.training.retraining import RetrainingProgress, RetrainingResult

REPORT_NAME = "retraining.json"

PARENT_GONE = 75


@click.command("retrain")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--data", type=click.Path(path_type=Path), help="A data set, or a folder per species.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="The model in use, to compare with.")
@click.option("--backbone", help="What the new model is built on.  [default: the model in use]")
@click.option(
    "--new-class", "new_classes", multiple=True, metavar="NAME", help="A label that is a new class; repeatable."
)
@click.option("--out", type=click.Path(path_type=Path), help="Its folder.  [default: retrained, beside the data]")
@click.option("--json", "as_json", is_flag=True, help="Print every step, and the outcome, as a line of JSON.")
@click.option("--check", "only_check", is_flag=True, help="Check the settings, and train nothing.")
@click.option("--supervised", is_flag=True, hidden=True, help="End when the standard input does.")
@click.option("--sounds", type=click.Path(path_type=Path), hidden=True, help="Where other sounds are made.")
@models_folder_option
@workers_option
def command(
    *,
    overrides: tuple[str, ...],
    data: Path | None,
    model: str,
    backbone: str | None,
    new_classes: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    only_check: bool,
    supervised: bool,
    sounds: Path | None,
    models_folder: Path | None,
    workers: int,
) -> None:
    """Teach a model from labelled recordings, and say whether the new one should replace it.

    A quarter of each species' recordings is kept back, and both models are compared on it. KEY=VALUE are settings of
    `dawnchorus train`, such as model=efficientnet. What was interrupted goes on where it stopped.

    Labels must be classes of the model in use or of the backbone, by either name, or be named by --new-class.
    """
    if supervised:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from dawnchorus.training.compose import refuse_contradictions
        from dawnchorus.training.retraining import check_settings, retrain
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Retraining") from error

    if not supervised:  # a server's own settings come before those of a request, which win
        refuse_contradictions(overrides)
    store = ModelStore(models_folder or default_folder())
    announce_model(store, model)
    if only_check:
        check_settings(store.open(model), overrides, backbone=backbone or model, store=store)
        return
    if data is None:
        raise click.UsageError("Missing option '--data'.")
    shown = _print_progress if as_json else _Shown(console()).show
    try:
        active = store.open(model)
        labels = [*active.labels, *(store.open(backbone).labels if backbone else ())]
        source = _table(data, workers, [*labels, *map(parse_label, new_classes)])
        folder = out or source.folder / "retrained"
        table = _in(folder, source.with_rows(with_known_classes(source.rows, labels, new_classes)))
        result = retrain(
            table,
            active,
            folder,
            backbone=backbone or model,
            store=store,
            sounds=sounds or store.folder,
            started=datetime.now(),  # noqa: DTZ005 - a folder's name, in the user's own time
            overrides=overrides,
            n_workers=workers,
            on_progress=shown,
        )
    except DawnChorusError as error:
        if as_json:
            _print({"stage": "failed", "error": str(error)})
        raise
    fields = {
        "bundle": str(result.bundle.folder.absolute()),
        "bundle_id": result.bundle.id,
        "meets_promotion_rule": result.meets_promotion_rule,
        "reasons": list(result.reasons),
        "report": result.report,
    }
    with atomic_file(folder / REPORT_NAME) as stream:
        stream.write(json.dumps(fields, indent=2, ensure_ascii=False).encode())
    if as_json:
        _print({"stage": "done", "outcome": fields})
    else:
        _present(result)


def _table(data: Path, workers: int, known: Sequence[Label]) -> RecordingsTable:
    """Return the data set's table; of a folder without one, what is in it, with files labelled by `known` names."""
    if table_path(data).exists():
        return read_table(data)
    notes: list[str] = []
    table = import_recordings(data, data, known=known, n_workers=workers, on_note=notes.append)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    unnamed = [row.path for row in table.rows if row.is_unlabelled]
    if unnamed:
        click.echo(
            f"left out, because neither folder nor file name is that of a species that the model knows: "
            f"{len(unnamed)} files ({', '.join(unnamed[:MAX_LISTED])})",
            err=True,
        )
    return table.with_rows(row for row in table.rows if row.path not in unnamed)


def _in(folder: Path, source: RecordingsTable) -> RecordingsTable:
    """Copy the table into the retraining's own folder; the user's is left as it is.

    What an earlier retraining kept back there is kept back again. If that one has ended, this is a new one.
    """
    if (folder / REPORT_NAME).is_file():
        (folder / REPORT_NAME).unlink()
        for part in ("runs", "bundle"):
            shutil.rmtree(folder / part, ignore_errors=True)
    before = read_table(folder).rows if table_path(folder).exists() else ()
    parts = {row.recording_id: row.split for row in before}
    rows = (
        replace(row, path=str(source.file(row).absolute()), split=row.split or parts.get(row.recording_id))
        for row in source.rows
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return RecordingsTable(folder, tuple(rows))


def _end_with_parent() -> None:
    """End with the parent process, also if that is killed."""
    sys.stdin.buffer.read()
    os._exit(PARENT_GONE)


def _print(fields: dict[str, object]) -> None:
    click.echo(json.dumps(fields, ensure_ascii=False))
    sys.stdout.flush()


def _print_progress(progress: RetrainingProgress) -> None:
    fields = {name: value for name, value in asdict(progress).items() if value not in (None, "")}
    _print({"stage": fields.pop("name"), **fields})


class _Shown:
    """A line for each stage and epoch."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._stage = ""

    def show(self, progress: RetrainingProgress) -> None:
        if progress.epoch is not None:
            values = "  ".join(f"{name} {value:.3f}" for name, value in (progress.metrics or {}).items())
            self._screen.print(f"epoch {progress.epoch:3d} of {progress.n_epochs}  {values}", markup=False)
        elif progress.message or progress.name != self._stage:
            self._screen.print(f"{progress.name}: {progress.message}".rstrip(": "), markup=False)
        self._stage = progress.name


def _present(result: RetrainingResult) -> None:
    report = result.report
    table = Table(box=None)
    for column in ("species", "learned from", "kept back", "in use", "new"):
        table.add_column(column, justify="left" if column == "species" else "right")
    for row in report["species"]:
        values = [row[f"{name}_average_precision"] for name in ("active", "new")]
        shown = ["does not know it" if value is None else f"{value:.3f}" for value in values]
        table.add_row(row["common_name"], str(row["n_train_recordings"]), str(row["n_held_out"]), *shown)
    means = [report["average_precision"][name] for name in ("active", "new")]
    table.add_row(
        "average precision", str(report["n_train_recordings"]), str(report["n_held_out"]), *(f"{m:.3f}" for m in means)
    )
    print_table(table)
    verdict = "use the new one" if result.meets_promotion_rule else f"keep the old one: {'; '.join(result.reasons)}"
    click.echo(f"Advice: {verdict}")
    click.echo(result.bundle.folder)
