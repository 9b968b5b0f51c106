"""The command group `dawnchorus data`: import, check, split and describe data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from dawnchorus.cli.log import collect_log
from dawnchorus.cli.names import checklists_option, open_name_lists
from dawnchorus.cli.options import LOCAL_PATH, PATH_OR_URL, model_options, models_folder_option, workers_option
from dawnchorus.cli.present import MAX_LISTED, console
from dawnchorus.cli.progress import progress_bar
from dawnchorus.data.attribution import write_attribution
from dawnchorus.data.check import ISSUES, LABEL_CHECKS, ModelScores, check_table, count_issues
from dawnchorus.data.data_set_import import ImportedDataSet, import_data_set
from dawnchorus.data.given_split import split_by_counts, split_by_tables
from dawnchorus.data.import_notes import describe_labels
from dawnchorus.data.label_check import find_label_doubts
from dawnchorus.data.labels import LabelReader
from dawnchorus.data.layout_detection import list_layouts, parse_layout
from dawnchorus.data.layouts.voices import read_voice_recordings
from dawnchorus.data.model_check import model_scores
from dawnchorus.data.recordings import (
    SPLITS,
    RecordingRow,
    RecordingsTable,
    read_table,
    species_of,
    table_path,
    write_table,
)
from dawnchorus.data.split import LeakReport, fold_ratios, leak_report, split_gaps, split_table
from dawnchorus.errors import InputError
from dawnchorus.inference.model import Model
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.tables.notes import counted
from dawnchorus.taxonomy.labels import Label

Number = TypeVar("Number", int, float)


@click.group("data")
def command() -> None:
    """Import, check, split and describe recordings for training."""


def _columns(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    columns = {}
    for text in values:
        field, separator, column = text.partition("=")
        if not separator:
            raise click.BadParameter(f"expected FIELD=COLUMN, got {text!r}")
        columns[field.strip()] = column.strip()
    return columns


@command.command("import")
@click.argument("source", type=PATH_OR_URL)
@click.argument("data_set", type=LOCAL_PATH)
@click.option(
    "--layout",
    default="auto",
    callback=lambda _context, _option, value: parse_layout(value),
    metavar="LAYOUT",
    help=f"{', '.join(list_layouts())}; or what the folders are, as site/species.  [default: auto]",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_columns,
    help="Column of a csv for a field, as FIELD=COLUMN; repeatable.",
)
@click.option(
    "--audio",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the recordings that a table describes.  [default: the table's folder]",
)
@click.option(
    "--per-species",
    type=click.IntRange(1),
    help="Maximum number of recordings of a species, the first ones; background and negatives are not limited.",
)
@checklists_option
@click.option("--append", is_flag=True, help="Add to the existing table.")
@click.option("--overwrite", is_flag=True, help="Replace the existing table.")
@models_folder_option
@workers_option
def import_(
    *,
    source: Path,
    data_set: Path,
    layout: str,
    columns: dict[str, str],
    audio: Path | None,
    per_species: int | None,
    checklists: tuple[Path, ...],
    append: bool,
    overwrite: bool,
    models_folder: Path | None,
    workers: int,
) -> None:
    """Create the recordings table of the folder DATA_SET from SOURCE; audio files are not copied.

    SOURCE is a folder with a folder per species (or its URL), a Kaggle or BirdCLEF folder, a csv, search results of
    xeno-canto's API (xc.json), a folder of annotated soundscapes (with Raven or Audacity files next to them), or a
    table of detections.

    English names and codes are looked up in --checklist, in birdnet's labels if this model is installed, in a
    taxonomy.csv or eBird taxonomy in SOURCE or the folder above, and in AviList if the extra [taxonomy] is installed.
    """
    notes = collect_log()
    imported = import_data_set(
        source,
        data_set,
        store=ModelStore(models_folder or default_folder()),
        layout=layout,
        columns=columns,
        audio=audio,
        per_species=per_species,
        checklists=checklists,
        append=append,
        overwrite=overwrite,
        n_workers=workers,
    )
    show_imported(imported, notes, console())


def show_imported(imported: ImportedDataSet, notes: Iterable[str], screen: Console) -> None:
    """Print an import's result: path and summary of the table, labels with their classes, and notes."""
    click.echo(imported.path)
    describe(imported.table, screen)
    print_labels(imported.labels, imported.editions, screen)
    print_notes(notes, screen)


def print_notes(notes: Iterable[str], screen: Console) -> None:
    """Print notes, one per line, each with the prefix "note: "."""
    for note in notes:
        screen.print(f"note: {note}", markup=False)


def print_labels(labels: LabelReader, sources: Sequence[str], screen: Console) -> None:
    """Print the class of each label, the most frequent label first, and the names of the checklists (`sources`).

    At most `MAX_LISTED` labels are printed, and nothing at all without labels.
    """
    if not labels.label_uses:
        return
    classes = {use.label.scientific_name for use in labels.label_uses}
    n_classes = f"{len(classes):,} class{'' if len(classes) == 1 else 'es'}"
    looked_up = f"; names were looked up in {', '.join(sources)}" if sources else ""
    screen.print(f"{counted(len(labels.label_uses), 'label')}, {n_classes}{looked_up}:", markup=False)
    lines = list(describe_labels(labels))
    for line in lines[:MAX_LISTED]:
        screen.print(f"    {line}", markup=False)
    if len(lines) > MAX_LISTED:
        screen.print(f"    and {len(lines) - MAX_LISTED:,} more labels")


def describe(table: RecordingsTable, screen: Console) -> None:
    """Print a summary of a data set: numbers, lengths, licenses, splits and problems."""
    rows = table.rows
    hours = sum(row.duration_s or 0 for row in rows) / 3600
    kinds = Counter(row.kind for row in rows)
    n_annotations = sum(len(row.annotations) for row in rows)
    screen.print(
        f"{counted(len(rows), 'recording')} ({', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}), "
        f"{hours:.1f} hours, {len(species_of(rows))} species, {counted(n_annotations, 'annotation')}"
    )
    licenses = Counter(row.license or "unknown" for row in rows)
    screen.print("licenses: " + ", ".join(f"{name} {n}" for name, n in licenses.most_common()), markup=False)
    splits = Counter(row.split for row in rows if row.split)
    if splits:
        screen.print("split: " + ", ".join(f"{name} {n}" for name, n in splits.items()))
    for issue, n in count_issues(rows).most_common():
        screen.print(f"{n:8d}  {issue}: {ISSUES.get(issue, '')}", markup=False)


@command.command("show")
@click.argument("data_set", type=LOCAL_PATH)
@click.option("--recording", help="Show all fields of one recording, by identifier or path.")
def show(*, data_set: Path, recording: str | None) -> None:
    """Print a summary of a data set, or all fields of one recording."""
    table = read_table(data_set)
    if recording is None:
        describe(table, Console(highlight=False, soft_wrap=True))
        return
    row = next((row for row in table.rows if recording in (row.recording_id, row.path)), None)
    if row is None:
        raise InputError(f"there is no recording '{recording}'.", subject=table_path(data_set))
    for name, value in asdict(row).items():
        if value not in (None, (), []):
            click.echo(f"{name}: {value}")


@command.command("check")
@click.argument("data_set", type=LOCAL_PATH)
@click.option("--check-labels", is_flag=True, help="Also compare labels with a model's detections.")
@checklists_option
@model_options
@workers_option
def check(
    *, data_set: Path, check_labels: bool, checklists: tuple[Path, ...], model: str, store: ModelStore, workers: int
) -> None:
    """Find missing, corrupt, silent, clipped, duplicate and mislabeled recordings, with advice.

    Labels without a name, with almost the same spelling, or in no checklist are printed; the checklists are those of
    `dawnchorus data import`.

    Problems, decoded durations and audio hashes are written into the table. With --check-labels, the result of the
    comparison with a model is written, too, and the other species that the model detects, with score and time.
    """
    table = read_table(data_set)
    scores = model_scores(table, Model(store.open(model), store), workers) if check_labels else None
    with progress_bar(console(), "listening") as report:
        checked = check_table(table, n_workers=workers, scores=scores, report=report)
    write_table(checked)
    screen = Console(highlight=False, soft_wrap=True)
    if scores is not None:
        _describe_label_check(checked.rows, scores, screen)
    counts = count_issues(checked.rows)
    for issue, n in counts.most_common():
        screen.print(f"{issue}: {n} ({ISSUES[issue]})", markup=False)
        named = [row for row in checked.rows if issue in row.problems]
        if issue == "no_license":
            continue
        for row in named[:MAX_LISTED]:
            screen.print(f"    {row.recording_id}{_detail(row, issue)}", markup=False)
        if len(named) > MAX_LISTED:
            screen.print(f"    and {len(named) - MAX_LISTED} more")
    names = open_name_lists(store.folder, table_path(data_set), checklists=checklists)
    issues = list(find_label_doubts(checked.rows, names.known, sources=names.editions))
    for sentence in issues:
        screen.print(f"labels: {sentence}", markup=False)
    if not counts and not issues:
        screen.print("Nothing is wrong.")


def _describe_label_check(rows: Sequence[RecordingRow], scores: ModelScores, screen: Console) -> None:
    """Print the outcomes of comparing labels with a model, and the labels that are no classes of the model."""
    outcomes = Counter(row.label_check for row in rows)
    counts = ", ".join(f"{n} {LABEL_CHECKS[name]}" for name in LABEL_CHECKS if (n := outcomes[name]))
    screen.print(f"labels of {counted(len(rows), 'recording')}: {counts}", markup=False)
    unknown = Counter(
        Label(row.scientific_name or "", row.common_name or "") for row in rows if row.label_check == "unknown_label"
    )
    for label, n in unknown.most_common(MAX_LISTED):
        screen.print(f"    {scores.classes.question(label)} ({counted(n, 'recording')})", markup=False)
    if len(unknown) > MAX_LISTED:
        screen.print(f"    and {len(unknown) - MAX_LISTED} more labels")


def _detail(row: RecordingRow, issue: str) -> str:
    """Return details of a problem: the original of a copy, or the species detected instead of the label; else ""."""
    if issue in ("duplicate", "near_duplicate"):
        return f" = {row.duplicate_of}"
    if issue in ("doubtful_label", "other_species"):
        clip = f"{row.detected_start_s:.1f}-{row.detected_end_s:.1f} s"
        return f": labeled {row.scientific_name}, detected {row.detected_species} ({row.detected_score:.2f} at {clip})"
    return ""


@command.command("split")
@click.argument("data_set", type=LOCAL_PATH)
@click.option(
    "--ratios", default="0.7,0.15,0.15", show_default=True, help="Ratios of the train, validation and test splits."
)
@click.option("--folds", type=int, help="Number of equal folds, in place of ratios.")
@click.option(
    "--counts",
    help="Number of recordings of each species in each split, as 8,0,7, in the table's order, in place of ratios.",
)
@click.option(
    "--from",
    "tables",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File with the split, in place of ratios: a csv with a column split, or named train, valid or test; or JSON; "
    "repeatable.",
)
@click.option("--report-only", is_flag=True, help="Keep the existing split, and only report.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the random generator.")
def split(
    *,
    data_set: Path,
    ratios: str,
    folds: int | None,
    counts: str | None,
    tables: tuple[Path, ...],
    report_only: bool,
    seed: int,
) -> None:
    """Split a data set with related recordings kept together, and report leaks.

    A split by --counts or --from is not changed to keep related recordings together; leaks are only reported.
    """
    if sum((folds is not None, counts is not None, bool(tables), report_only)) > 1:
        raise InputError("--folds, --counts, --from, --report-only: expected one of them, got several.")
    table = read_table(data_set)
    requested: list[str] = []
    if not report_only:
        if not any(row.audio_hash for row in table.rows):
            click.echo("warning: not checked yet, so duplicates are not known; run `dawnchorus data check`", err=True)
        if tables:
            table = _split_by_tables(table, tables)
        elif counts is not None:
            numbers = _counts(counts)
            requested = [name for name, n in numbers.items() if n]
            table = split_by_counts(table, numbers)
        else:
            shares = fold_ratios(folds) if folds else _ratios(ratios)
            requested = list(shares)
            table = split_table(table, shares, seed=seed)
        write_table(table)
    _report_split(table, requested, seed=seed)
    n_unsplit = sum(row.split is None for row in table.rows)
    if n_unsplit:
        click.echo(f"in no split: {n_unsplit} of {counted(len(table.rows), 'recording')}", err=True)


def _split_by_tables(table: RecordingsTable, paths: Sequence[Path]) -> RecordingsTable:
    """Split by tables of the user, and print the listed recordings that are not in the data set."""
    notes = collect_log()
    given = split_by_tables(table, paths)
    print_notes(notes, console())
    if given.unmatched:
        named = ", ".join(given.unmatched[:MAX_LISTED])
        click.echo(f"not in the data set: {len(given.unmatched)} of {given.n_named} that are named: {named}", err=True)
    return given.table


def _counts(text: str) -> dict[str, int]:
    return _by_split("--counts", "two or three numbers such as 8,0,7", text, _values(text, int))


def _ratios(text: str) -> dict[str, float]:
    return _by_split("--ratios", "two or three numbers such as 0.7,0.15,0.15", text, _values(text, float))


def _values(text: str, number: Callable[[str], Number]) -> list[Number]:
    """Parse comma-separated numbers; empty if one is invalid."""
    try:
        return [number(part) for part in text.split(",")]
    except ValueError:
        return []


def _by_split(option: str, expected: str, text: str, values: Sequence[Number]) -> dict[str, Number]:
    """Return two or three values by split: train and test, or train, validation and test."""
    if not 2 <= len(values) <= len(SPLITS):
        raise InputError(f"{option}: expected {expected}, got {text!r}.")
    names = SPLITS if len(values) == len(SPLITS) else ("train", "test")
    return dict(zip(names, values, strict=True))


def _print_gaps(rows: Sequence[RecordingRow], splits: Sequence[str]) -> None:
    """Print the splits without recordings of some species, with an example species."""
    for gap in split_gaps(rows, splits):
        lacks = (
            "no recordings" if gap.n_missing == gap.n_labels else f"none of {gap.n_missing} of {gap.n_labels} classes"
        )
        available = (
            f"{counted(gap.n_recordings, 'recording')} in {counted(gap.n_groups, 'group')} that must stay together"
        )
        click.echo(f"{gap.split}: {lacks}; the other splits have all recordings of {gap.label} ({available}).")


def _report_split(table: RecordingsTable, split_names: Sequence[str], *, seed: int) -> None:
    rows = [row for row in table.rows if row.split]
    splits = Counter(row.split for row in rows)
    species: dict[str | None, set[str | None]] = {
        name: {r.scientific_name for r in rows if r.split == name} for name in splits
    }
    for name, n in splits.items():
        hours = sum(row.duration_s or 0 for row in rows if row.split == name) / 3600
        click.echo(f"{name}: {counted(n, 'recording')}, {hours:.2f} hours, {len(species[name] - {None})} species")
    _print_gaps(rows, split_names)
    report = leak_report(table.rows, seed=seed)
    _print_leaks(report.leaks)
    click.echo(
        f"{report.n_leaking} of {counted(report.n_tested, 'recording')} outside the largest split "
        f"{'has' if report.n_leaking == 1 else 'have'} a known relative in it; "
        f"a split at random would have {report.n_leaking_at_random:.1f}."
    )
    for line in describe_coverage(report):
        click.echo(line)


def describe_coverage(report: LeakReport) -> Iterator[str]:
    """Yield sentences on a split's groups of related recordings, and on the relations that were looked for.

    Of each relation, such as "the same sound", the number of recordings that have the data for it is given.
    """
    known = [each for each in report.coverage if each.n_known]
    counts = ", ".join(f"{each.relation.name} ({each.n_known})" for each in known)
    yield f"{counted(report.n_recordings, 'recording')} in {counted(report.n_groups, 'group')} that must stay together."
    for name, n_recordings, n_groups in report.narrow[:MAX_LISTED]:
        members = f"{counted(n_recordings, 'recording')} in {counted(n_groups, 'group')}"
        yield f"in too few groups for every split: {name}, {members}."
    if len(report.narrow) > MAX_LISTED:
        yield f"in too few groups for every split: {len(report.narrow) - MAX_LISTED} more species."
    yield f"looked for, in so many recordings: {counts}."
    for each in report.coverage:
        if not each.n_known:
            yield f"not looked for: {each.relation.name}; no recording has {each.relation.needs}."
    if report.n_long:
        yield f"not looked for: the same sound beyond the first 120 s of {counted(report.n_long, 'recording')}."
    if report.undecided:
        first = report.undecided[0]
        yield (
            f"not known: if {sum(map(len, report.undecided))} recordings whose names differ in a number or letter "
            f"({first[0].recording_id}, {first[1].recording_id}...) are clips of one. They are split as recordings of "
            f"their own; if they are not, give a csv a column 'group'."
        )


def _print_leaks(leaks: Sequence[Any]) -> None:
    for leak in leaks[:MAX_LISTED]:
        first, second = leak.first, leak.second
        click.echo(
            f"leak: {first.recording_id} ({first.split}) and {second.recording_id} ({second.split}): {leak.relation}"
        )
    if len(leaks) > MAX_LISTED:
        click.echo(f"leak: and {len(leaks) - MAX_LISTED} more")


@command.command("attribution")
@click.argument("data_set", type=LOCAL_PATH)
@click.option(
    "--voices",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="List the recordings in this 'Birds Voice.csv' (Kaggle's 114 species), not those in the data set's table.",
)
def attribution(*, data_set: Path, voices: Path | None) -> None:
    """Write ATTRIBUTION.md, with recordists and licenses, into the data set's folder."""
    table = read_table(data_set)
    notes = collect_log()
    rows = read_voice_recordings(voices) if voices else table.rows
    print_notes(notes, console())
    path = write_attribution(rows, table.folder)
    click.echo(path)
