"""`dawnchorus runs`: what was trained."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dawnchorus.errors import InputError, MissingExtra
from dawnchorus.files import atomic_file

ROOT = click.option("--runs", "root", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
METRICS = ("val_loss", "val_accuracy", "val_auc", "test_top_1", "test_macro_roc_auc")


@click.group("runs")
def command() -> None:
    """List, show, compare, plot and remove training runs."""


def _runs(root: Path, names: tuple[str, ...] = ()) -> list[Any]:
    try:
        from dawnchorus.train import runs
    except ImportError as error:
        raise MissingExtra(error.name or "torch", extra="train", purpose="Training") from error
    if names:
        return [runs.read_run(Path(name) if Path(name).is_dir() else root / name) for name in names]
    found = list(runs.find_runs(root))
    if not found:
        raise InputError(f"{root}: there are no runs in this folder. Train one with `dawnchorus train`, or name it.")
    return found


@command.command("list")
@ROOT
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
def list_(*, root: Path, as_json: bool) -> None:
    """All runs, the oldest first."""
    found = _runs(root)
    if as_json:
        click.echo(json.dumps([{"run": run.name, **run.about} for run in found], ensure_ascii=False))
        return
    table = Table(box=None)
    for column in ("run", "status", "classes", "learned", "epochs", "fit s", *METRICS, "devices"):
        table.add_column(column)
    for run in found:
        about = run.about
        counts = [str(about.get(name, "")) for name in ("n_classes", "n_learned", "epochs", "fit_s")]
        values = [f"{run.metrics[name]:.3f}" if name in run.metrics else "" for name in METRICS]
        table.add_row(run.name, about["status"], *counts, *values, about.get("devices", ""))
    Console(highlight=False, soft_wrap=True).print(table)


@command.command("show")
@click.argument("name")
@ROOT
def show(*, name: str, root: Path) -> None:
    """Everything about one run."""
    (run,) = _runs(root, (name,))
    click.echo(json.dumps(run.about, indent=2, ensure_ascii=False))
    click.echo((run.folder / "config.yaml").read_text(encoding="utf-8"))


@command.command("compare")
@click.argument("names", nargs=-1, required=True)
@ROOT
def compare(*, names: tuple[str, ...], root: Path) -> None:
    """Where the settings of runs differ, and what came of it."""
    from dawnchorus.train.runs import read_config

    found = _runs(root, names)
    flat = [_flat(read_config(run)) for run in found]
    table = Table(box=None)
    table.add_column("")
    for run in found:
        table.add_column(run.name)
    for key in sorted({key for settings in flat for key in settings}):
        values = [str(settings.get(key, "")) for settings in flat]
        if len(set(values)) > 1:
            table.add_row(key, *values)
    for name in METRICS:
        values = [f"{run.metrics[name]:.3f}" if name in run.metrics else "" for run in found]
        if any(values):
            table.add_row(name, *values)
    Console(highlight=False, soft_wrap=True).print(table)


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(settings, dict):
        return {prefix: settings}
    return {
        key: value
        for name, inner in settings.items()
        for key, value in _flat(inner, f"{prefix}.{name}" if prefix else name).items()
    }


@command.command("plot")
@click.argument("names", nargs=-1)
@ROOT
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs.png"), show_default=True)
def plot(*, names: tuple[str, ...], root: Path, out: Path) -> None:
    """Draw the curves of runs, and how they compare, as a PNG."""
    from dawnchorus.pictures.curves import draw_curves

    found = _runs(root, names)
    curves = {run.name: _curves(run.folder / "metrics.csv") for run in found}
    results = {run.name: dict(run.metrics) for run in found if run.metrics}
    with atomic_file(out) as stream:
        stream.write(draw_curves(curves, results))
    click.echo(out)


def _curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Epoch and value of every metric."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and name not in ("epoch", "step"):
                        found[name].append((float(row["epoch"]), float(value)))
    return found


@command.command("rm")
@click.argument("names", nargs=-1, required=True)
@ROOT
def rm(*, names: tuple[str, ...], root: Path) -> None:
    """Delete runs with their bundles."""
    for run in _runs(root, names):
        shutil.rmtree(run.folder)
        click.echo(f"deleted: {run.folder}")
