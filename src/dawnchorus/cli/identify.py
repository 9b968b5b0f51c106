"""The command `dawnchorus identify`: detection of birds in recordings."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from rich.console import Console
from rich.table import Table

from dawnchorus.audio.discovery import describe_skipped, find_recordings
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.cli.archive import ArchiveJob, identify_into_archive
from dawnchorus.cli.dry_run import DryRun, Prices, warn_if_full
from dawnchorus.cli.options import (
    LOCAL_PATH,
    PATH_OR_URL,
    is_given,
    location_options,
    model_options,
    ray_option,
    schema_options,
    workers_option,
)
from dawnchorus.cli.present import (
    MAX_LISTED,
    SOME_FAILED,
    announce_model,
    console,
    files_from,
    length_text,
    print_table,
    speed_text,
    write_report,
)
from dawnchorus.cli.progress import show_progress
from dawnchorus.errors import InputError
from dawnchorus.formats.columns import has_channels, round_values
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.registry import FORMATS, channel_note
from dawnchorus.identification import Options, RecordingFailure, Run, identify
from dawnchorus.identification.estimate import Estimate, estimate_run
from dawnchorus.identification.input_tables import InputTable, read_recordings, read_species_list, read_thresholds
from dawnchorus.identification.notes import describe_unknown_names
from dawnchorus.identification.options import KEPT_MIN_SCORE, KEPT_TOP, Keep
from dawnchorus.inference.analyses.health.faults import OK
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.inference.model import Model
from dawnchorus.models.store import ModelStore
from dawnchorus.storage.paths import RemotePath, absolute_path, as_path, is_remote
from dawnchorus.tables.notes import counted
from dawnchorus.types import RecordingMetadata

JSON_SCHEMA = 1

T = TypeVar("T")


def _formats(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    names = [name.strip() for text in value for name in text.split(",")]
    return tuple(FORMATS.lookup(name).name for name in dict.fromkeys(names))


def _analyses(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = [name.strip() for name in (value or "").split(",")]
    return tuple(ANALYSES.lookup(name).name for name in dict.fromkeys(names) if name)


@click.command("identify")
@click.argument("paths", nargs=-1, required=True)
@model_options
@schema_options("min_score", "overlap_s", "tta_shifts", "channel", "top", "merge", "speech")
@click.option("--thresholds", type=LOCAL_PATH, help="CSV file with the columns scientific_name and min_score.")
@click.option(
    "--species-list", type=LOCAL_PATH, help="Text file with the names of the only species to report, one per line."
)
@location_options
@click.option(
    "--analyses",
    callback=_analyses,
    help=f"Analyses of the recordings, written next to the table: any of {', '.join(ANALYSES)}, with commas.",
)
@click.option(
    "--recordings",
    type=LOCAL_PATH,
    help="CSV file with the columns path, latitude, longitude and start_time of recordings.",
)
@click.option(
    "--out",
    type=PATH_OR_URL,
    help="Output: a file for one table, or a folder for a table per recording; may be a URL.  [default: -]",
)
@click.option("--format", "formats", multiple=True, callback=_formats, help=f"Any of {', '.join(FORMATS)}.")
@click.option("--combined", is_flag=True, help="Write one table of all recordings into the --out folder.")
@click.option("--report", type=PATH_OR_URL, help="Folder for a spectrogram of each recording and an HTML report.")
@click.option(
    "--archive",
    metavar="FOLDER",
    help="Folder or URL of an archive for the results, to which many processes can write.",
)
@click.option(
    "--keep", type=click.Choice(get_args(Keep)), help="Results to store in an archive in addition to detections."
)
@click.option("--shard", metavar="I/N", help="With --archive, process only part I of N parts of the recordings.")
@click.option(
    "--unit-mb",
    type=click.FloatRange(0, min_open=True),
    help="With --archive, megabytes of recordings that are committed together.  [default: by their size]",
)
@ray_option("With --archive, address")
@workers_option
@click.option(
    "--resume", is_flag=True, help="Add recordings to a finished run: new and changed ones, and those that failed."
)
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
@click.option("--dry-run", is_flag=True, help="Measure the time, cost and space that a run needs, and write nothing.")
@click.option(
    "--price-per-core-hour", type=click.FloatRange(0), help="With --dry-run, the price of an hour of one core."
)
@click.option("--price-per-gb", type=click.FloatRange(0), help="With --dry-run, the price of reading a gigabyte.")
@click.option("--json", "as_json", is_flag=True, help="Print the run's summary as one JSON object.")
@click.option("--quiet", "-q", is_flag=True, help="Print no progress and no summary, only warnings and failures.")
@click.option("--no-color", is_flag=True, help="Print no colors.  [also: $NO_COLOR]")
def command(
    *,
    paths: tuple[str, ...],
    model: str,
    store: ModelStore,
    fields: dict[str, Any],
    thresholds: Path | None,
    species_list: Path | None,
    location: dict[str, Any],
    analyses: tuple[str, ...],
    recordings: Path | None,
    out: Path | None,
    formats: tuple[str, ...],
    combined: bool,
    report: Path | None,
    archive: str | None,
    keep: Keep | None,
    shard: str | None,
    unit_mb: float | None,
    ray: str | None,
    workers: int,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    price_per_core_hour: float | None,
    price_per_gb: float | None,
    as_json: bool,
    quiet: bool,
    no_color: bool,
) -> None:
    """Detect birds in recordings: files, folders, globs and URLs, or - for a list of them on standard input.

    Without --out the table is written to standard output; with --archive, results are stored in an archive instead. The
    same command resumes an interrupted run.

    Exit codes: 0 all done, 2 wrong request, 3 some files failed, 4 cannot write, 5 missing or broken model or
    package, 6 output in use, 7 a store refuses or cannot be reached, 130 stopped.
    """
    out = None if str(out) == "-" else out
    _check_archive_options(archive)
    if out is None and archive is None:
        _check_standard_output(formats, analyses)
    screen = Console(quiet=True) if quiet else console(no_color=no_color)
    species = _print_notes(read_species_list(species_list)) if species_list else None
    options = Options(species=species, **fields, **location)
    metadata_by_path = _print_notes(read_recordings(recordings)) if recordings else None
    shown = _open_dry_run(
        DryRun(screen, workers, Prices(price_per_core_hour, price_per_gb), as_json), is_wanted=dry_run
    )
    if archive is not None:
        identify_into_archive(
            ArchiveJob(
                folder=archive,
                options=_with_kept_floor(options),
                model=model,
                store=store,
                keep=() if keep is None else (keep,),
                metadata=metadata_by_path,
                analyses=analyses,
                shard=shard,
                unit_mb=unit_mb,
                # Each node of a cluster has cores of its own.
                workers=workers if ray is None or is_given("workers") else None,
                resume=resume,
                ray=ray,
            ),
            files_from(paths),
            screen,
            as_json=as_json,
            dry_run=shown,
        )
        return
    files = _find_recordings(paths)
    if metadata_by_path is not None:
        _print_unmatched(recordings, metadata_by_path, files)
    _warn_of_other_locations(options, metadata_by_path or {})
    announce_model(store, model)
    bundle = store.open(model)
    if thresholds:
        options = replace(options, thresholds=_print_notes(read_thresholds(thresholds, bundle.labels)))
    unknown_names = tuple(describe_unknown_names(bundle, options))  # said before the run, which may be long
    for line in unknown_names:
        click.echo(f"warning: {line}", err=True)
    if shown is not None:
        shown.show_table(files, Model(bundle, store), options, analyses, out)
        return
    estimate = None
    if not quiet:
        plan = WindowPlan.from_seconds(
            rate_hz=bundle.info.sample_rate_hz, window_s=bundle.info.window_s, overlap_s=options.overlap_s
        )
        estimate = estimate_run(
            files,
            bundle,
            plan,
            n_workers=workers,
            tta_shifts=options.tta_shifts,
            channel=options.channel,
            clock=time.perf_counter,
        )
        _print_estimate(screen, estimate, options, workers, out)
    duration_s = estimate.duration_s if estimate else 0.0
    start_s = time.monotonic()
    with _report_kept_results(out), show_progress(screen, duration_s=duration_s) as report_progress:
        run = identify(
            files,
            options,
            model=Model(bundle, store),
            out=out,
            formats=None if out is None else formats,
            combined=combined,
            recordings=metadata_by_path,
            analyses=analyses,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            report=report_progress,
        )
    elapsed_s = time.monotonic() - start_s
    warnings, notes = run.warnings, tuple(note for note in run.notes if note not in unknown_names)
    if report:
        page, failures = write_report(run, report)
        warnings = (*warnings, *failures)
        screen.print(f"Report: {page}")
    result = _Result(run, out, elapsed_s, warnings)
    if as_json:
        click.echo(json.dumps(result.as_json(), ensure_ascii=False))
    elif out is None:
        notes += _print_table(run, formats)
    _print_result(screen, result, notes)
    problem_screen = console(no_color=no_color)  # also where the summary is not wanted
    _print_failures(problem_screen, "warning", warnings)
    _print_failures(problem_screen, "failed", run.failures)
    if run.failures:
        sys.exit(SOME_FAILED)


def _open_dry_run(dry_run: DryRun, *, is_wanted: bool) -> DryRun | None:
    """Return the dry run if `is_wanted` (--dry-run), else None.

    Raises:
        InputError: prices without --dry-run.
    """
    if not is_wanted and dry_run.prices != Prices():
        raise InputError("--price-per-core-hour, --price-per-gb: expected together with --dry-run.")
    return dry_run if is_wanted else None


_TABLE_OPTIONS = {
    **{name: f"--{name}" for name in ("out", "combined", "report", "overwrite", "thresholds")},
    "formats": "--format",
    "species_list": "--species-list",
}
"""Options for tables, by argument; they have no effect on an archive."""

_ARCHIVE_OPTIONS = {"keep": "--keep", "shard": "--shard", "unit_mb": "--unit-mb", "ray": "--ray"}


def _check_archive_options(archive: str | None) -> None:
    """Raise if an option was given that has no effect.

    Raises:
        InputError: options for tables together with --archive, or options for an archive without it.
    """
    unused = _ARCHIVE_OPTIONS if archive is None else _TABLE_OPTIONS
    given = [option for name, option in unused.items() if is_given(name)]
    if given and archive is None:
        raise InputError(f"{', '.join(given)}: expected together with --archive.")
    if given:
        raise InputError(
            f"{', '.join(given)}: not used with --archive, which keeps all that the model gives. Select with "
            f"`dawnchorus archive query` when it is read."
        )


def _with_kept_floor(options: Options) -> Options:
    """Return the options for an archive, in which --min-score and --top limit what is stored, with other defaults."""
    floor = {"min_score": KEPT_MIN_SCORE, "top": KEPT_TOP}
    defaults: dict[str, Any] = {name: value for name, value in floor.items() if not is_given(name)}
    return replace(options, **defaults)


def _check_standard_output(formats: Sequence[str], analyses: Sequence[str]) -> None:
    if len(formats) > 1:
        raise InputError(f"Standard output takes one format, got {', '.join(formats)}. Give an --out folder.")
    if analyses:
        raise InputError(f"Standard output takes no tables of {', '.join(analyses)}. Give an --out file or folder.")


def _find_recordings(paths: Sequence[str]) -> list[Path]:
    """Return the recordings at the paths, and print which files were skipped."""
    named = list(map(_as_given, files_from(paths)))
    recordings = find_recordings(named)
    for note in describe_skipped(named):
        click.echo(f"note: {note}", err=True)
    return recordings


def _as_given(path: str) -> str | RemotePath:
    """Convert a URL to a `RemotePath`, so that it is listed once; return other paths, which may be globs, as text."""
    known = as_path(path)
    return known if isinstance(known, RemotePath) else path


def _print_notes(table: InputTable[T]) -> T:
    """Print the notes on a table (guesses, values that were left out), and return its values."""
    for note in table.notes:
        click.echo(f"note: {note}", err=True)
    return table.values


def _print_unmatched(
    table: Path | None, metadata_by_path: Mapping[Path, RecordingMetadata], files: Sequence[Path]
) -> None:
    """Print warnings on rows of --recordings without a recording, and on recordings without a row."""
    full = {absolute_path(path) for path in files}
    unused, unnamed = set(metadata_by_path) - full, full - set(metadata_by_path)
    if unused:
        click.echo(
            f"warning: {table} has {counted(len(unused), 'row')} of other recordings, as {min(unused)}", err=True
        )
    if unnamed:
        click.echo(
            f"warning: {table} has no row of {len(unnamed)} of {counted(len(full), 'recording')}, as {min(unnamed)}: "
            f"time and location of these are those of the file or the options",
            err=True,
        )


def _warn_of_other_locations(options: Options, metadata_by_path: Mapping[Path, RecordingMetadata]) -> None:
    """Print a warning if --lat and --lon replace other locations in the table of --recordings."""
    given = options.latitude, options.longitude
    others = {
        path: location
        for path, metadata in metadata_by_path.items()
        if (location := (metadata.latitude, metadata.longitude)) not in ((None, None), given)
    }
    if given != (None, None) and others:
        path, location = next(iter(others.items()))
        click.echo(
            f"warning: --lat and --lon {given} are used for {counted(len(others), 'recording')} with another location "
            f"in the table of --recordings, as {path.name} {location}. Leave --lat and --lon out to use theirs.",
            err=True,
        )


@contextmanager
def _report_kept_results(out: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if out is not None:
            click.echo("What was scored is kept: run the same command again to resume.", err=True)
        raise


@dataclass(frozen=True)
class _Result:
    run: Run
    out: Path | None
    elapsed_s: float
    warnings: tuple[RecordingFailure, ...]
    """Warnings of the run, and reasons why spectrograms could not be drawn."""

    def as_json(self) -> dict[str, Any]:
        """Return the summary for --json by name of the field, with `detections` if they are not written to a file."""
        run, counts = self.run, self.run.counts
        fields: dict[str, Any] = {
            "schema": JSON_SCHEMA,
            "out": str(self.out) if self.out else None,
            "n_files": counts.n_files,
            "n_done": counts.n_done,
            "n_resumed": counts.n_resumed,
            "n_failed": len(run.failures),
            "scored_s": round(counts.scored_s, 3),
            "speech_s": round(run.speech_s, 3) if run.builder.options.speech is not None else None,
            "elapsed_s": round(self.elapsed_s, 3),
            "species": [
                {"scientific_name": scientific, "common_name": common, "kind": kind, "n_detections": n}
                for (kind, scientific, common), n in run.species_counts().most_common()
            ],
            "failures": [vars(failure) for failure in run.failures],
            "warnings": [vars(failure) for failure in self.warnings],
            "notes": run.notes,
            **({"recorders": _read_verdicts(run)} if "health" in run.analyses else {}),
            "provenance": vars(run.provenance),
        }
        if self.out is None:
            fields["detections"] = [
                {"recording": table.recording, **round_values(row)}
                for table in run.tables()
                for row in DetectionColumns.from_detections(table.detections).to_dicts()
            ]
        return fields


def _print_estimate(screen: Console, estimate: Estimate, options: Options, n_workers: int, out: Path | None) -> None:
    size_mb = estimate.output_bytes / 1e6
    each = ", each channel counted" if options.channel == "each" else ""
    screen.print(
        f"{counted(estimate.n_files, 'recording')}, {length_text(estimate.duration_s)} of sound{each}; about "
        f"{length_text(estimate.estimated_s)} on {n_workers} cores; a csv table of at most about {size_mb:.1f} MB."
    )
    if out is not None and not is_remote(out):
        warn_if_full(screen, out, estimate.output_bytes)


def _print_table(run: Run, formats: tuple[str, ...]) -> tuple[str, ...]:
    """Print the detections in a format or, in a terminal, as a table; return notes on the format."""
    if formats or not sys.stdout.isatty():
        chosen = FORMATS.lookup(formats[0] if formats else "csv")
        chosen.write(sys.stdout.buffer, run.tables(), run.provenance)
        note = channel_note([chosen]) if run.builder.options.channel == "each" else None
        return () if note is None else (note,)
    grid = Table()
    for name, side in (("recording", "left"), ("start s", "right"), ("end s", "right"), ("species", "left")):
        grid.add_column(name, justify="right" if side == "right" else "left")
    grid.add_column("score", justify="right")
    if has_channels(run.provenance):
        grid.add_column("channel", justify="right")
    for table in run.tables():
        for detection in table.detections:
            mark = " (out of range)" if detection.in_range is False else ""
            name = Path(table.recording).name
            times = (f"{detection.start_s:.1f}", f"{detection.end_s:.1f}")
            channel = [] if detection.channel is None else [str(detection.channel)]
            grid.add_row(name, *times, f"{detection.common_name}{mark}", f"{detection.score:.2f}", *channel)
    print_table(grid)
    return ()


def _print_result(screen: Console, result: _Result, notes: Iterable[str]) -> None:
    run, counts = result.run, result.run.counts
    by_species = run.species_counts() if not screen.quiet else {}
    species = [(common, n) for (kind, _, common), n in by_species.items() if kind == "species"]
    sounds = [(common, n) for (kind, _, common), n in by_species.items() if kind == "sound"]
    species.sort(key=lambda entry: (-entry[1], entry[0]))
    for name, n in species[:MAX_LISTED]:
        screen.print(f"{n:8d}  {name}", markup=False)
    if len(species) > MAX_LISTED:
        screen.print(f"          and {len(species) - MAX_LISTED} more species")
    if sounds:
        screen.print("Other sounds: " + ", ".join(f"{name} {n}" for name, n in sounds), markup=False)
    if run.builder.options.speech is not None:
        screen.print(f"Human voices: {length_text(run.speech_s)}.")
    if "health" in run.analyses:
        _print_recorders(screen, run)
    for note in notes:
        screen.print(f"note: {note}", markup=False)
    resumed = f" ({counts.n_resumed} of them before)" if counts.n_resumed else ""
    n_done = counts.n_done + counts.n_resumed
    speed = speed_text(counts.scored_s, result.elapsed_s)
    if counts.scored_s:
        speed = f"{length_text(counts.scored_s)} of sound in {length_text(result.elapsed_s)}, {speed}"
    screen.print(f"{counted(n_done, 'recording')} done{resumed}, {len(run.failures)} failed; {speed}.")
    if result.out:
        screen.print(f"{'Written' if run.written.paths else 'Up to date'}: {result.out}", markup=False)
        if (journal := run.journal.path) is not None:
            screen.print(f"Kept for --resume: {journal}; it can be deleted.", markup=False)


def _read_verdicts(run: Run) -> list[dict[str, Any]]:
    """Return the health verdict on each recorder, those with a fault first."""
    rows = run.analysis_tables("health")["recorders"]
    names = ("recorder", "n_recordings", "verdict")
    verdicts: list[dict[str, Any]] = []
    if len(rows):
        verdicts = [dict(zip(names, row, strict=True)) for row in rows[[*names]].tolist()]
    return sorted(verdicts, key=lambda verdict: verdict["verdict"] == OK)


def _print_recorders(screen: Console, run: Run) -> None:
    verdicts = _read_verdicts(run)
    for each in verdicts[:MAX_LISTED]:
        screen.print(f"recorder {each['recorder']}: {each['verdict']}", markup=False)
    if len(verdicts) > MAX_LISTED:
        screen.print(f"recorder: and {len(verdicts) - MAX_LISTED} more")


def _print_failures(screen: Console, word: str, failures: Sequence[RecordingFailure]) -> None:
    for failure in failures[:MAX_LISTED]:
        screen.print(f"{word}: {failure.recording}: {failure.reason}", markup=False)
    if len(failures) > MAX_LISTED:
        screen.print(f"{word}: and {len(failures) - MAX_LISTED} more")
