"""The command group `dawnchorus runs`: list, show, compare, plot and delete training runs."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from dawnchorus.cli.present import print_table
from dawnchorus.errors import BusyError, InputError, MissingExtraError
from dawnchorus.storage.files import atomic_file

if TYPE_CHECKING:
    from dawnchorus.training.runs import TrainingRun

ROOT = click.option(
    "--runs",
    "root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of the training runs.",
)
METRICS = ("val_loss", "val_accuracy", "val_auc", "test_accuracy", "test_macro_roc_auc")
FACTS = ("n_classes", "n_trainable_parameters", "epochs", "fit_s")
TITLES = {"n_classes": "classes", "n_trainable_parameters": "trainable", "fit_s": "fit s"}
OPTIONAL = ("status", "test_accuracy", "val_accuracy", "test_macro_roc_auc", "val_auc", "evaluated on", "val_loss",
            "epochs", "fit s", "classes", "trainable", "devices")  # fmt: skip
"""Columns of `list` that a narrow terminal drops, from the end of this tuple to its start."""

NOT_VARIED = ("seed", "data.seed", "paths.runs", "paths.models", "paths.clips", "name")
"""Settings that are not used to label runs, unless the runs differ only in these."""

MAX_DIGITS = 7


@click.group("runs")
def command() -> None:
    """List, show, compare, plot and remove training runs."""


def _runs(root: Path, names: tuple[str, ...] = ()) -> list[TrainingRun]:
    try:
        from dawnchorus.training import runs
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Training") from error
    if names:
        return [runs.read_run(Path(name) if Path(name).is_dir() else root / name) for name in names]
    selected = list(runs.find_runs(root))
    if not selected:
        raise InputError(
            "there are no runs in this folder. Train one with `dawnchorus train`, or name the folder of runs.",
            subject=root,
        )
    return selected


@command.command("list")
@ROOT
@click.option("--json", "as_json", is_flag=True, help="Print all data of the runs as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the runs with every metric as csv.")
def list_(*, root: Path, as_json: bool, as_csv: bool) -> None:
    """List all runs, oldest first."""
    selected = _runs(root)
    if as_json:
        lines = [{"run": run.name, **run.metadata, "status": run.status} for run in selected]
        click.echo(json.dumps(lines, ensure_ascii=False))
        return
    if as_csv:
        _write_csv(selected)
        return
    table = Table(box=None)
    for column in ("run", "status", *(TITLES.get(name, name) for name in FACTS), *METRICS, "evaluated on", "devices"):
        table.add_column(column)
    for run in selected:
        facts = [str(run.metadata.get(name, "")) for name in FACTS]
        values = [_format_metric(run, name) for name in METRICS]
        table.add_row(run.name, run.status, *facts, *values, _evaluated_on(run), run.metadata.get("devices", ""))
    print_table(table, optional=OPTIONAL)


def _write_csv(runs: Sequence[TrainingRun]) -> None:
    """Print a CSV row for each run, with all metrics that any of the runs has."""
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    facts = ("started", *FACTS, "devices")
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["run", "status", *facts, *names, "evaluated_on"])
    for run in runs:
        values = [run.metrics.get(name, "") for name in names]
        out.writerow(
            [run.name, run.status, *(run.metadata.get(name, "") for name in facts), *values, _evaluated_on(run)]
        )


def _value(run: TrainingRun, name: str) -> float | None:
    """Return a metric of a run, None without it; older runs have `test_accuracy` under the name `test_top_1`."""
    value = run.metrics.get(name)
    return run.metrics.get("test_top_1") if value is None and name == "test_accuracy" else value


def _format_metric(run: TrainingRun, name: str) -> str:
    value = _value(run, name)
    return "" if value is None else f"{value:.3f}"


def _evaluated_on(run: TrainingRun) -> str:
    """Return the data set, split and date of the run's last evaluation; "" without one."""
    if not run.evaluations:
        return ""
    last = run.evaluations[-1]
    return f"{Path(last['data_set']).name} {last['split']} {last['date'][:10]}"


@command.command("show")
@click.argument("name")
@ROOT
def show(*, name: str, root: Path) -> None:
    """Print all data of a run."""
    (run,) = _runs(root, (name,))
    click.echo(json.dumps(run.metadata, indent=2, ensure_ascii=False))
    click.echo((run.folder / "config.yaml").read_text(encoding="utf-8"))


@command.command("compare")
@click.argument("names", nargs=-1, required=True)
@ROOT
def compare(*, names: tuple[str, ...], root: Path) -> None:
    """Compare runs by differing settings and by metrics."""
    selected = _runs(root, names)
    table = Table(box=None)
    table.add_column("")
    for run in selected:
        table.add_column(run.name)
    for key, settings in _differences(selected).items():
        table.add_row(key, *settings)
    measured = {name for run in selected for name in run.metrics if name.startswith("test_")} - {"test_top_1"}
    for name in dict.fromkeys([*METRICS, *sorted(measured)]):
        values = [_format_metric(run, name) for run in selected]
        if any(values):
            table.add_row(name, *values)
    evaluated = [_evaluated_on(run) for run in selected]
    if any(evaluated):
        table.add_row("evaluated on", *evaluated)
    print_table(table)


def _differences(runs: Sequence[TrainingRun]) -> dict[str, list[str]]:
    """Return the values of each run by setting, for settings that differ between the runs."""
    from dawnchorus.training.runs import read_config

    flat = [_flat(read_config(run)) for run in runs]
    values = {key: [str(each.get(key, "")) for each in flat] for key in sorted({key for each in flat for key in each})}
    return {key: each for key, each in values.items() if len(set(each)) > 1}


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
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs.png"), show_default=True, help="Output file, a PNG."
)
def plot(*, names: tuple[str, ...], root: Path, out: Path) -> None:
    """Plot the learning curves of runs (by default of all), and a comparison of their accuracies, as a PNG.

    Runs are labeled by the settings in which they differ. Results of `dawnchorus evaluate` have confidence intervals.
    """
    from dawnchorus.plotting.curves import Curves, draw_runs

    selected = _runs(root, names)
    setting, labels = label_runs(selected)
    metric = "test_accuracy" if any(_value(run, "test_accuracy") is not None for run in selected) else "val_accuracy"
    curves = [
        Curves(label, _curves(run.folder / "metrics.csv"), _value(run, metric), _interval(run, metric))
        for label, run in zip(labels, selected, strict=True)
    ]
    with atomic_file(out) as stream:
        stream.write(draw_runs(curves, setting=setting, metric=metric))
    click.echo(out)


def label_runs(runs: Sequence[TrainingRun]) -> tuple[str, list[str]]:
    """Return the settings that differ between the runs (comma-separated), and for each run a label with its values.

    A label is the value (`0.001`) if one setting differs, else `lr=0.001, n_mels=64` without the groups of settings.
    Seeds, folders and the run's name (`NOT_VARIED`) count only if no other setting differs. If no setting differs at
    all, "run" and the names of the runs are returned.
    """
    differences = _differences(runs)
    chosen = {key: values for key, values in differences.items() if key not in NOT_VARIED} or differences
    varied = {key: [_brief(value) for value in values] for key, values in chosen.items()}
    if not varied:
        return "run", [run.name for run in runs]
    if len(varied) == 1:
        ((setting, values),) = varied.items()
        return setting, values
    short = [key.rpartition(".")[2] for key in varied]
    each = [
        ", ".join(f"{k}={v}" for k, v in zip(short, row, strict=True)) for row in zip(*varied.values(), strict=True)
    ]
    return ", ".join(varied), each


def _brief(value: str) -> str:
    """Round a number with many digits, as tuning produces, to four digits; other texts unchanged."""
    try:
        return f"{float(value):.4g}" if len(value) > MAX_DIGITS else value
    except ValueError:
        return value


def _interval(run: TrainingRun, metric: str) -> tuple[float, float] | None:
    """Return the confidence limits of a `test_` metric in the last evaluation on "test"; None without one."""
    name = metric.removeprefix("test_")
    for result in reversed(run.evaluations):
        if result["split"] == "test" and metric.startswith("test_") and name in result["metrics"]:
            return result["metrics"][name]["low"], result["metrics"][name]["high"]
    return None


def _curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Return (epoch, value) pairs by metric, from a run's `metrics.csv`."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and name not in ("epoch", "step"):
                        curves[name].append((float(row["epoch"]), float(value)))
    return curves


@command.command("rm")
@click.argument("names", nargs=-1, required=True)
@ROOT
def rm(*, names: tuple[str, ...], root: Path) -> None:
    """Delete runs with their bundles; nothing is deleted if one of them is running."""
    selected = _runs(root, names)
    for run in selected:
        if run.status == "running":
            raise BusyError("a process is training this run. Stop it first; no run was deleted.", subject=run.folder)
    for run in selected:
        shutil.rmtree(run.folder)
        click.echo(f"deleted: {run.folder}")
