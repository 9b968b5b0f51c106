"""The command `dawnchorus evaluate`: metrics, thresholds and submissions of models on a data set."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from dawnchorus.cli.options import LOCAL_PATH, models_folder_option, schema_option, workers_option
from dawnchorus.cli.present import SOME_FAILED, announce_model, console, print_table, without_nan
from dawnchorus.cli.progress import show_progress
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, select_split, table_path
from dawnchorus.errors import DawnChorusError, InputError, OutputError, OutputExistsError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.tables.notes import counted

if TYPE_CHECKING:
    from dawnchorus.data.presence import Secondary
    from dawnchorus.evaluation.evaluation import Comparison, Evaluation
    from dawnchorus.evaluation.scoring import Pool, Scores

UNKNOWN_TITLE = "unknown species counted as wrong"

MAX_REFUSALS = 10
"""Maximum number of species without a threshold that are listed."""

JSON_NAME, PAGE_NAME = "evaluation.json", "evaluation.html"

TITLES = {
    "accuracy": "accuracy (top 1)",
    "log_loss": "log loss (cross-entropy)",
    "padded_cmap": "padded cmap (5)",
}
"""Titles of metrics in place of their names; `top_1` is not printed, as it equals `accuracy`."""


OF_REPORTS = ("secondary", "out", "pool", "overlap_s", "thresholds", "precision", "as_json")
OF_SUBMISSIONS = ("sample", "min_score")
"""Options (names of their arguments) that have an effect only on a report, or only on a submission."""


class _Share(click.FloatRange):
    """A click type for numbers in a range that rejects NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the number."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("nan is no number between 0 and 1.", param, ctx)
        return number


@click.command("evaluate")
@click.argument("models", nargs=-1, required=True, metavar="BUNDLE...")
@click.argument("data_set", type=LOCAL_PATH)
@click.option(
    "--split",
    help="Split to use; all: every recording.  [default: test; with --submission the recordings that "
    "--sample-submission names, in any split]",
)
@click.option(
    "--secondary",
    type=click.Choice(["count", "mask"]),
    help="Other species in a recording: they count as present (count), or are ignored (mask).  [default: mask if the "
    "first BUNDLE is a run that masked them, else count]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Output folder for the HTML page and the JSON.")
@click.option(
    "--pool",
    type=click.Choice(["mean", "max"]),
    default="mean",
    show_default=True,
    help="Pooling of the windows' scores to a score of the recording.",
)
@schema_option("overlap_s")
@schema_option("tta_shifts")
@click.option("--thresholds", type=click.Path(path_type=Path), help="Write thresholds that reach --precision, as csv.")
@click.option("--precision", type=_Share(0, 1, min_open=True, max_open=True), default=0.9, show_default=True,
    help="For --thresholds: minimum precision of each species' windows, with 95 % confidence.")  # fmt: skip
@click.option(
    "--submission", type=click.Path(path_type=Path), help="Output file in the format of BirdCLEF's submission.csv."
)
@click.option(
    "--sample-submission",
    "sample",
    type=click.Path(path_type=Path),
    help="BirdCLEF's sample_submission.csv, whose columns and rows the submission gets.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Minimum score of a present species, for submissions of decisions (2021, 2022).",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files of --out, --thresholds and --submission.")
@click.option("--json", "as_json", is_flag=True, help="Print the evaluation as JSON; undefined values are null.")
@models_folder_option
@workers_option
def command(
    *,
    models: tuple[str, ...],
    data_set: Path,
    split: str | None,
    secondary: Secondary | None,
    out: Path | None,
    pool: Pool,
    overlap_s: float,
    tta_shifts: int,
    thresholds: Path | None,
    precision: float,
    submission: Path | None,
    sample: Path | None,
    min_score: float,
    overwrite: bool,
    as_json: bool,
    models_folder: Path | None,
    workers: int,
) -> None:
    """Evaluate a BUNDLE on DATA_SET, with confidence intervals; further bundles are compared with the first.

    DATA_SET comes last. A BUNDLE is a folder, a built-in model's name, or a training run's folder; the results are
    stored in the run, for `dawnchorus runs`. If one of several bundles fails, the others are reported, and the exit
    code is 3.
    """
    _refuse_unused(is_submission=submission is not None, has_thresholds=thresholds is not None)
    from dawnchorus.evaluation.evaluation import compare
    from dawnchorus.evaluation.submission import write_submission
    from dawnchorus.workflows import choose_secondary

    written_files = [*([] if out is None else [out / JSON_NAME, out / PAGE_NAME]), thresholds, submission]
    if not overwrite:
        _refuse_existing(path for path in written_files if path is not None)
    store = ModelStore(models_folder or default_folder())
    _refuse_other_order(models, data_set)
    table = read_table(data_set)
    if submission is not None:
        bundle = _single(models, store)
        rows = select_split(table, split or "all")
        written = write_submission(
            submission, bundle, table, rows, store=store, sample=sample, min_score=min_score, tta_shifts=tta_shifts,
            n_workers=workers,
        )  # fmt: skip
        for line in (*written.notes, f"{submission}: {counted(written.n_rows, 'row')}"):
            click.echo(line, err=True)
        return
    split = split or "test"
    rows = select_split(table, split)
    bundles = [_open(name, store) for name in models]
    _refuse_doubled(models, bundles)
    secondary = secondary or choose_secondary(bundles[0])
    options = {"data_set": str(data_set.resolve()), "split": split, "overlap_s": overlap_s, "tta_shifts": tta_shifts}
    scorer = _Scorer(
        bundles, table, rows, store=store, n_workers=workers, overlap_s=overlap_s, tta_shifts=tta_shifts,
        secondary=secondary,
    )  # fmt: skip
    results, failed = _measure_all(models, bundles, scorer, pool=pool, options=options)
    differences = [compare(results[0][1], other, pool=pool) for _, other in results[1:]]
    fields: dict[str, Any] = {
        "data_set": str(data_set),
        "split": split,
        "secondary": secondary,
        "evaluations": [evaluation.as_json() for evaluation, _ in results],
        "failed": [{"model": name, "reason": str(error)} for name, error in failed.items()],
        "first_minus_other": [
            {name: vars(value) for name, value in each.first_minus_other.items()} for each in differences
        ],
    }
    text = json.dumps(without_nan(fields), indent=2, ensure_ascii=False, allow_nan=False)
    if out is not None:
        _write_report(out, text, table, results, differences)
        click.echo(out / PAGE_NAME, err=as_json)
    for name, error in failed.items():
        click.echo(f"failed: {name}: {error}", err=True)
    if thresholds is not None:
        _write_thresholds(thresholds, None if models[0] in failed else results[0][1], precision)
    is_whole = not failed and not any(scores.failures for _, scores in results)
    if as_json:
        click.echo(text)
        sys.exit(0 if is_whole else SOME_FAILED)
    _print_results(results, differences)
    for issue in results[0][0].label_issues:
        click.echo(
            f"possible label error: {issue.recording_id}: labeled {issue.label}, predicted {issue.prediction} "
            f"({issue.score:.2f})",
            err=True,
        )
    unlabeled = results[0][1].unlabeled
    if unlabeled:
        click.echo(
            f"left out: {counted(len(unlabeled), 'unlabeled recording')} (as {unlabeled[0]}): what is in them is "
            f"unknown, so predictions there are neither right nor wrong.",
            err=True,
        )
    for evaluation, scores in results:
        for recording, reason in scores.failures.items():
            click.echo(f"failed: {evaluation.model}: {recording}: {reason}", err=True)
    sys.exit(0 if is_whole else SOME_FAILED)


def _measure_all(
    names: Sequence[str], bundles: Sequence[Bundle], scorer: _Scorer, *, pool: Pool, options: dict[str, Any]
) -> tuple[list[tuple[Evaluation, Scores]], dict[str, DawnChorusError]]:
    """Evaluate all bundles, and store each result in its training run; return results, and errors by bundle name.

    Raises:
        DawnChorusError: all bundles failed; it is the error of the first one.
    """
    from dawnchorus.evaluation.evaluation import evaluate

    results: list[tuple[Evaluation, Scores]] = []
    failed: dict[str, DawnChorusError] = {}
    for name, bundle in zip(names, bundles, strict=True):
        try:
            scores = scorer.score(bundle)
            evaluation = evaluate(bundle, scores, pool=pool)
        except DawnChorusError as error:
            failed[name] = error
            continue
        results.append((evaluation, scores))
        _save_result(name, evaluation, options)
    if not results:
        raise failed[names[0]]
    return results, failed


class _Scorer:
    """Scoring of bundles; bundles with the same windows are scored together. `options` are for `score_together`."""

    def __init__(self, bundles: Sequence[Bundle], table: RecordingsTable, rows: Sequence[RecordingRow], **options: Any):
        self._bundles, self._table, self._rows, self._options = bundles, table, rows, options
        self._scores: dict[Path, Scores] = {}
        self._alone: set[Path] = set()
        """Folders of bundles that are scored individually, after their group failed."""

    def score(self, bundle: Bundle) -> Scores:
        """Return the scores of one of the bundles.

        Raises:
            DawnChorusError: the bundle cannot score the recordings; other bundles may.
        """
        from dawnchorus.evaluation.scoring import group_by_windows

        if bundle.folder not in self._scores:
            (group,) = (each for each in group_by_windows(self._bundles) if bundle in each)
            if len(group) > 1 and bundle.folder not in self._alone:
                try:
                    self._score_group(group)
                except DawnChorusError:
                    self._alone |= {each.folder for each in group}
            if bundle.folder not in self._scores:
                self._score_group([bundle])
        return self._scores[bundle.folder]

    def _score_group(self, group: Sequence[Bundle]) -> None:
        from dawnchorus.evaluation.scoring import score_together

        duration_s = sum(row.duration_s or 0 for row in self._rows)
        with show_progress(console(), duration_s=duration_s) as report:
            measured = score_together(group, self._table, self._rows, report=report, **self._options)
        self._scores |= zip((each.folder for each in group), measured, strict=True)


def _open(name: str, store: ModelStore) -> Bundle:
    announce_model(store, name)
    return store.open(name)


def _refuse_unused(*, is_submission: bool, has_thresholds: bool) -> None:
    """Raise if an option was given that has no effect.

    Raises:
        click.UsageError: such an option was given.
    """
    context = click.get_current_context()
    unused: dict[str, str] = (
        dict.fromkeys(OF_REPORTS, "--submission writes no report")
        if is_submission
        else {
            **dict.fromkeys(OF_SUBMISSIONS, "it is for a submission: give --submission FILE as well"),
            **({} if has_thresholds else {"precision": "it is for --thresholds FILE: give that as well"}),
        }
    )
    for option in context.command.params:
        if option.name in unused and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option.opts[0]} has no effect: {unused[option.name]}.")


def _refuse_existing(paths: Iterable[Path]) -> None:
    """Raise if one of the paths exists.

    Raises:
        OutputExistsError: it does.
    """
    for path in paths:
        if path.exists():
            raise OutputExistsError("it exists already. Choose another name, or use --overwrite.", subject=path)


def _refuse_other_order(models: Sequence[str], data_set: Path) -> None:
    """Raise if the data set was given before the bundles.

    Raises:
        InputError: the last argument is not a data set, but another one is.
    """
    data_sets = [] if _is_data_set(data_set) else [name for name in models if _is_data_set(Path(name))]
    if data_sets:
        raise InputError(
            f"DATA_SET: expected a data set as the last argument, got {data_set}; {data_sets[0]} is one. Put it last: "
            f"dawnchorus evaluate {data_set} {data_sets[0]}"
        )


def _is_data_set(path: Path) -> bool:
    """Return True for a folder with a recordings table that is no bundle (bundles have a table of training data)."""
    return table_path(path).exists() and not (path / "bundle.json").exists()


def _refuse_doubled(names: Sequence[str], bundles: Sequence[Bundle]) -> None:
    """Raise if a bundle would be compared with itself.

    Raises:
        InputError: two names are the same bundle.
    """
    first: dict[Path, str] = {}
    for name, bundle in zip(names, bundles, strict=True):
        folder = bundle.folder.resolve()
        if folder in first:
            raise InputError(f"BUNDLE: {first[folder]} and {name} are the same bundle ({bundle.id}). Leave one out.")
        first[folder] = name


def _save_result(model: str, evaluation: Evaluation, options: dict[str, Any]) -> None:
    """Store an evaluation in the model's training run, if it has one; print a warning if that fails."""
    from dawnchorus.training.runs import find_run

    run = find_run(model)
    if run is None:
        return
    date = datetime.now().isoformat(timespec="seconds")  # noqa: DTZ005 - as a run's start, in the user's own time
    try:
        run.add_evaluation({**options, "date": date, **evaluation.as_record()})
    except OutputError as error:
        click.echo(f"warning: the run does not keep what was measured: {error}", err=True)


def _print_results(results: list[tuple[Evaluation, Scores]], differences: list[Comparison]) -> None:
    from dawnchorus.evaluation.evaluation import SECONDARY_NOTES

    screen = Console(highlight=False, soft_wrap=True)
    evaluations = [evaluation for evaluation, _ in results]
    for evaluation in evaluations:
        for note in evaluation.coverage_notes:
            click.echo(note, err=note.startswith("warning"))
    print_table(_metrics_table(evaluations))
    for evaluation in evaluations:
        if evaluation.interval_note is not None:
            screen.print(f"{evaluation.model}: {evaluation.interval_note}", markup=False)
    first = evaluations[0]
    screen.print(SECONDARY_NOTES[first.secondary])
    if first.n_known_species == 1:
        screen.print(
            "One species: the best of one is always right, so only ROC AUC, average precision, log loss and the scores "
            "in background say something."
        )
    for evaluation, difference in zip(evaluations[1:], differences, strict=True):
        each = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in difference.first_minus_other.items())
        screen.print(
            f"{first.model} minus {evaluation.model}, on what both know ({difference.counted}): {each}", markup=False
        )
        if difference.interval_note is not None:
            screen.print(difference.interval_note, markup=False)
    for evaluation in evaluations:
        _show_notes(evaluation, screen)


def _metrics_table(evaluations: list[Evaluation]) -> Table:
    """Return a table of all metrics by bundle, with the numbers of recordings and species behind them."""
    table = Table(box=None)
    table.add_column("metric")
    for each in evaluations:
        table.add_column(f"{each.model} {each.bundle_id}")
        table.add_column("of")
    for title, cells in _metric_rows(evaluations):
        table.add_row(title, *(str(cell) for pair in cells for cell in pair))
    return table


def _metric_rows(evaluations: list[Evaluation]) -> Iterator[tuple[str, list[tuple[object, object]]]]:
    """Yield the title of each metric, and for each bundle (value, numbers of recordings and species)."""
    for name in evaluations[0].by_recording:
        if name == "top_1":
            continue
        title = TITLES.get(name, name.replace("_", " "))
        yield title, [(each.by_recording[name], each.counted[name]) for each in evaluations]
        if any(name in each.with_unknown for each in evaluations):
            yield (
                f"  {UNKNOWN_TITLE}",
                [(each.with_unknown.get(name, ""), each.counted_with_unknown(name)) for each in evaluations],
            )
    yield "calibration error", [(f"{each.calibration_error:.3f}", each.calibration_size) for each in evaluations]
    if any(each.calibrated_error is not None for each in evaluations):
        yield (
            "calibrated",
            [
                ("", "") if each.calibrated_error is None else (f"{each.calibrated_error:.3f}", each.calibration_size)
                for each in evaluations
            ],
        )


def _show_notes(evaluation: Evaluation, screen: Console) -> None:
    if evaluation.training_overlap:
        first = evaluation.training_overlap[0]
        click.echo(
            f"warning: {evaluation.model} was trained on {len(evaluation.training_overlap)} of these recordings, or on "
            f"copies or clips of them ({first.recording_id}: {first.relation}...).",
            err=True,
        )
    for note in evaluation.overlap_notes:
        click.echo(f"note: {note}", err=True)
    for note in evaluation.background_notes:
        click.echo(note, err=evaluation.background is None or evaluation.background.n_with_detections > 0)
    for threshold, counts in evaluation.events.items():
        screen.print(
            f"events of {evaluation.model} from score {threshold}: precision {counts.precision:.3f} of "
            f"{counts.n_predicted}, recall {counts.recall:.3f} of {counts.n_annotated}, in "
            f"{counted(counts.n_recordings, 'annotated recording')}"
        )
    if evaluation.n_unknown_marks:
        screen.print(
            f"left out of these: {counted(evaluation.n_unknown_marks, 'mark')} of species that {evaluation.model} does "
            f"not know."
        )


def _write_report(
    out: Path,
    text: str,
    table: RecordingsTable,
    results: list[tuple[Evaluation, Scores]],
    differences: list[Comparison],
) -> None:
    from dawnchorus.reports.evaluation import render_evaluation

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    for name, content in ((JSON_NAME, text), (PAGE_NAME, render_evaluation(table, results, differences))):
        with atomic_file(out / name) as stream:
            stream.write(content.encode())


def _write_thresholds(path: Path, scores: Scores | None, precision: float) -> None:
    """Write a CSV for `dawnchorus identify --thresholds`; None (the first bundle failed) prints a message instead."""
    if scores is None:
        click.echo(f"{path}: not written, as it has the thresholds of the first BUNDLE, which failed", err=True)
        return
    from dawnchorus.evaluation.thresholds import describe_refusals, group_windows, thresholds_for_precision

    thresholds = thresholds_for_precision(
        scores.classes, scores.known_scores, scores.truth, precision=precision, groups=group_windows(scores)
    )
    chosen = thresholds.chosen
    with atomic_file(path) as stream:
        lines = [f"{name},{each.min_score!r},{each.precision:.4f},{each.low:.4f}\n" for name, each in chosen.items()]
        stream.write("".join(["scientific_name,min_score,precision,precision_low\n", *lines]).encode())
    refusals = list(describe_refusals(thresholds.refused, precision))
    for line in refusals[:MAX_REFUSALS]:
        click.echo(line, err=True)
    if len(refusals) > MAX_REFUSALS:
        click.echo(f"... and {len(refusals) - MAX_REFUSALS} more species", err=True)
    click.echo(
        f"{path}: {len(chosen)} of {len(scores.classes)} species have a threshold, from which at least {precision:g} "
        f"of their windows are right in other recordings like these, with 95 % confidence; `identify --thresholds` "
        f"takes --min-score for all others",
        err=True,
    )


def _single(models: tuple[str, ...], store: ModelStore) -> Bundle:
    if len(models) != 1:
        raise InputError("--submission: expected one bundle; make one of several with `dawnchorus models ensemble`.")
    announce_model(store, models[0])
    return store.open(models[0])
