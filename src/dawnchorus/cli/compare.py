"""The command `dawnchorus compare`: comparison of two models on recordings."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from dawnchorus.audio.discovery import find_recordings
from dawnchorus.cli.options import LOCAL_PATH, models_folder_option, workers_option
from dawnchorus.cli.present import (
    MAX_LISTED,
    SOME_FAILED,
    announce_model,
    console,
    files_from,
    print_table,
    without_nan,
)
from dawnchorus.cli.progress import show_progress
from dawnchorus.data.recordings import read_table, select_split, table_path
from dawnchorus.errors import OutputExistsError
from dawnchorus.inference.model import Model
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.storage.files import atomic_file
from dawnchorus.storage.paths import as_path
from dawnchorus.tables.notes import counted

if TYPE_CHECKING:
    from dawnchorus.evaluation.evaluation import Comparison
    from dawnchorus.evaluation.model_comparison import KnownToOne, ModelComparison, ModelOutput
    from dawnchorus.identification import Run

JSON_SCHEMA = 1

CSV_COLUMNS = (
    *("scientific_name", "common_name", "known_to", "name_in_second", "n_both", "n_only_first", "n_only_second"),
    *("n_recordings_first", "n_recordings_second", "score_shift", "n_shifts"),
)


@click.command("compare")
@click.argument("first")
@click.argument("second")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.25,
    show_default=True,
    help="Minimum score of a detected species.",
)
@click.option("--split", default="all", show_default=True, help="Split of the data set to use.")
@click.option("--out", type=LOCAL_PATH, help="CSV file for all classes of both models.")
@click.option("--overwrite", is_flag=True, help="Replace the file of --out.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON; undefined values are null.")
@models_folder_option
@workers_option
def command(
    *,
    first: str,
    second: str,
    paths: tuple[str, ...],
    min_score: float,
    split: str,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    models_folder: Path | None,
    workers: int,
) -> None:
    """Compare two models on your own recordings: agreement, scores by species, and what only one of them knows.

    PATHS are recordings, which the models FIRST and SECOND score; or an archive, with FIRST and SECOND the ids of runs
    or names of models in it; or a data set: then metrics by its labels are compared, too, with paired intervals.
    """
    from dawnchorus.evaluation.model_comparison import compare_models

    if out is not None and out.exists() and not overwrite:
        raise OutputExistsError("it exists already. Choose another name, or use --overwrite.", subject=out)
    runs: list[Run]
    if len(paths) == 1 and _is_archive(paths[0]):
        outputs, runs, truth = _read_outputs(paths[0], (first, second)), [], None
    else:
        store = ModelStore(models_folder or default_folder())
        outputs, runs, truth = _score_all([_open(name, store) for name in (first, second)], paths, split, workers)
    if outputs[0].name == outputs[1].name:
        outputs = [
            replace(each, name=f"{each.name} ({name})") for each, name in zip(outputs, (first, second), strict=True)
        ]
    comparison = compare_models(outputs[0], outputs[1], threshold=min_score)
    if out is not None:
        _write_csv(out, comparison)
    if as_json:
        fields = {
            "schema": JSON_SCHEMA,
            **asdict(comparison),
            "first_minus_second": None if truth is None else asdict(truth),
        }
        click.echo(json.dumps(without_nan(fields), ensure_ascii=False, allow_nan=False))
    else:
        _print_comparison(comparison, truth)
    screen = console()
    for run in runs:
        for failure in run.failures[:MAX_LISTED]:
            screen.print(f"failed: {run.bundle.info.name}: {failure.recording}: {failure.reason}", markup=False)
    if any(run.failures for run in runs):
        sys.exit(SOME_FAILED)


def _is_archive(path: str) -> bool:
    from dawnchorus.archive.location import MARKER

    return (as_path(path) / MARKER).is_file()


def _read_outputs(folder: str, names: Sequence[str]) -> list[ModelOutput]:
    from dawnchorus.archive.archive import open_archive
    from dawnchorus.evaluation.model_outputs import read_output

    archive = open_archive(folder)
    return [read_output(archive, name) for name in names]


def _open(name: str, store: ModelStore) -> Model:
    announce_model(store, name)
    return Model(store.open(name), store)


def _score_all(
    models: Sequence[Model], paths: Sequence[str], split: str, workers: int
) -> tuple[list[ModelOutput], list[Run], Comparison | None]:
    """Score recordings; return both models' detections, their runs, and differences by labels (None without labels)."""
    from dawnchorus.evaluation.model_outputs import compare_by_labels

    truth = None
    if len(paths) == 1 and table_path(as_path(paths[0])).exists():
        table = read_table(as_path(paths[0]))
        rows = select_split(table, split)
        files = [table.file(row) for row in rows]
        truth = compare_by_labels(models, table, rows, workers=workers)
        if truth is None:
            click.echo("note: the labels have no species that both models know, so they say nothing here", err=True)
    else:
        files = find_recordings(files_from(paths))
    scored = [_score(files, model, workers) for model in models]
    return [output for output, _ in scored], [run for _, run in scored], truth


def _score(files: Sequence[Path], model: Model, workers: int) -> tuple[ModelOutput, Run]:
    from dawnchorus.evaluation.model_outputs import score_output

    with show_progress(console(), duration_s=None) as report:
        return score_output(files, model, workers=workers, report=report)


def _print_comparison(comparison: ModelComparison, truth: Comparison | None) -> None:
    first, second = comparison.first, comparison.second
    click.echo(
        f"{first} and {second}: {counted(comparison.n_recordings, 'recording')} that both scored, in segments of "
        f"{comparison.segment_s:g} s, from score {comparison.threshold:g} on."
    )
    for name, recordings in ((first, comparison.missing_first), (second, comparison.missing_second)):
        if recordings:
            click.echo(
                f"left out: {counted(len(recordings), 'recording')} that {name} has not scored (as {recordings[0]})."
            )
    labels = comparison.labels
    click.echo(
        f"Classes: {len(labels.pairs)} known to both, "
        f"{len(labels.renamed)} of them by another name; {len(labels.only_first)} known to {first} only, "
        f"{len(labels.only_second)} to {second} only."
    )
    click.echo(f"Agreement: {comparison.agreement} of segments and species that one of them detects.")
    click.echo(f"Score of {second} minus that of {first}, where both kept one: {comparison.score_shift}.")
    if truth is not None:
        each = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in truth.first_minus_other.items())
        click.echo(f"By the labels, {first} minus {second}, on what both know ({truth.counted}): {each}")
        if truth.interval_note is not None:
            click.echo(truth.interval_note)
    if comparison.species:
        print_table(_species_table(comparison))
    if len(comparison.species) > MAX_LISTED:
        click.echo(f"and {len(comparison.species) - MAX_LISTED} more species: --out writes all.")
    _print_known_to_one(first, comparison.only_first)
    _print_known_to_one(second, comparison.only_second)


def _species_table(comparison: ModelComparison) -> Table:
    table = Table(box=None)
    table.add_column("species")
    for name in ("both", f"only {comparison.first}", f"only {comparison.second}", "score shift"):
        table.add_column(name, justify="right")
    for row in comparison.species[:MAX_LISTED]:
        shift = f"{round(row.score_shift, 3) + 0.0:+.3f}" if row.n_shifts else ""
        table.add_row(row.common_name, str(row.n_both), str(row.n_only_first), str(row.n_only_second), shift)
    return table


def _print_known_to_one(model: str, classes: Sequence[KnownToOne]) -> None:
    if not classes:
        return
    named = ", ".join(f"{each.common_name} {each.n_segments}" for each in classes[:MAX_LISTED])
    more = f" and {len(classes) - MAX_LISTED} more" if len(classes) > MAX_LISTED else ""
    click.echo(f"Detected by {model}, which alone knows them (segments): {named}{more}.")


def _write_csv(path: Path, comparison: ModelComparison) -> None:
    """Write a CSV row for each class of either model.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_csv_rows(comparison))
    with atomic_file(path) as stream:
        stream.write(text.getvalue().encode())


def _csv_rows(comparison: ModelComparison) -> Iterator[dict[str, object]]:
    labels = comparison.labels
    in_second = {own: other for other, own in labels.pairs.items()}
    detected = {row.scientific_name for row in comparison.species}
    for row in comparison.species:
        fields = without_nan(asdict(row))
        yield {**fields, "known_to": "both", "name_in_second": in_second[row.scientific_name]}
    for name, other in in_second.items():
        if name not in detected:
            yield {"scientific_name": name, "known_to": "both", "name_in_second": other}
    for side, classes, detections in (
        ("first", labels.only_first, comparison.only_first),
        ("second", labels.only_second, comparison.only_second),
    ):
        counts = {each.scientific_name: each.n_segments for each in detections}
        for label in classes:
            yield {
                "scientific_name": label.scientific_name,
                "common_name": label.common_name,
                "known_to": side,
                f"n_only_{side}": counts.get(label.scientific_name, 0),
            }
