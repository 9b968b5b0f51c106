"""The command group `dawnchorus archive`, and the command `dawnchorus identify --archive`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from dawnchorus.cli.archive_hoplite import export, import_
from dawnchorus.cli.archive_rescore import rescore
from dawnchorus.cli.archive_search import search
from dawnchorus.cli.options import LOCAL_PATH
from dawnchorus.cli.present import (
    MAX_LISTED,
    SOME_FAILED,
    announce_model,
    console,
    note_unknown_sites,
    print_table,
    speed_text,
)
from dawnchorus.cli.progress import show_progress
from dawnchorus.errors import InputError
from dawnchorus.identification.options import Keep, Options
from dawnchorus.suggestions import suggestion
from dawnchorus.tables.notes import counted
from dawnchorus.types import RecordingMetadata

if TYPE_CHECKING:
    from dawnchorus.archive.archive import Archive, Status
    from dawnchorus.cli.dry_run import DryRun
    from dawnchorus.identification.archiving import ArchiveResult
    from dawnchorus.models.store import ModelStore

JSON_SCHEMA = 1

STOPPED = "Units that have ended are kept: run the same command again to resume."


@dataclass(frozen=True, kw_only=True)
class ArchiveJob:
    """Arguments of `identify --archive`.

    Attributes:
        folder: the archive: a folder, or a URL.
        options: options of the identification.
        model: name or folder of the model.
        store: the store of models.
        keep: results to keep in addition to detections: "embeddings" (float16) or "embeddings:int8"; may be empty.
        metadata: time and location by absolute path of a recording, in place of those in the file; None for those in
            the files.
        analyses: names of further analyses of the recordings.
        shard: part of the recordings to process, as "I/N" for part I of N; None for all.
        unit_mb: size in MB (1e6 bytes) of a unit, a group of recordings whose results are committed together; None for
            the defaults of `archive.manifest.UnitSize`.
        workers: number of decoder processes; None, on a Ray cluster only, for the number of cores of each node.
        resume: True to list the recordings again, and add those that are new, have changed or failed; False to keep the
            run's first list. What is left of an interrupted run is processed in both cases.
        ray: address of a Ray cluster: "HOST:PORT", "auto" or "local"; None without a cluster.
    """

    folder: str
    options: Options
    model: str
    store: ModelStore
    keep: Sequence[Keep]
    metadata: dict[Path, RecordingMetadata] | None
    analyses: Sequence[str]
    shard: str | None
    unit_mb: float | None
    workers: int | None
    resume: bool
    ray: str | None


def identify_into_archive(
    job: ArchiveJob, paths: Sequence[str], screen: Console, *, as_json: bool, dry_run: DryRun | None = None
) -> None:
    """Identify recordings into an archive, print the result, and exit with 3 if recordings failed.

    `job` has the arguments, `paths` are files, folders, globs and URLs of recordings, and messages go to `screen`. With
    `as_json`, the result is also printed as JSON on standard output. With `dry_run`, only the costs of the run are
    measured and printed, and nothing is identified; None to run it.

    Raises:
        InputError, PlugInError, ModelError, OutputError, StoreError, BusyError, MissingExtraError: see
            `identification.archiving.archive_recordings`.
    """
    from dawnchorus.archive.manifest import UnitSize
    from dawnchorus.identification.archiving import archive_recordings, plan_archiving
    from dawnchorus.inference.model import Model

    announce_model(job.store, job.model)
    model = Model(job.store.open(job.model), job.store)
    n_bytes = None if job.unit_mb is None else job.unit_mb * 1e6
    unit_size = None if n_bytes is None else UnitSize(max_bytes=n_bytes, min_bytes=n_bytes, largest_bytes=n_bytes)
    if dry_run is not None:
        plan = plan_archiving(
            paths,
            job.folder,
            job.options,
            model=model,
            keep=job.keep,
            metadata=job.metadata,
            analyses=job.analyses,
            shard=job.shard,
            unit_size=unit_size,
            resume=job.resume,
        )
        dry_run.show_archive(plan, job.folder, model)
        return
    start_s = time.monotonic()
    # Ray writes messages about its nodes to standard output, which is for --json.
    quiet = nullcontext() if job.ray is None else redirect_stdout(sys.stderr)
    with _report_kept_units(), quiet, show_progress(screen, duration_s=None) as report:
        result = archive_recordings(
            paths,
            job.folder,
            job.options,
            model=model,
            keep=job.keep,
            metadata=job.metadata,
            analyses=job.analyses,
            shard=job.shard,
            unit_size=unit_size,
            workers=job.workers,
            resume=job.resume,
            ray=job.ray,
            report=report,
        )
    elapsed_s = time.monotonic() - start_s
    if as_json:
        click.echo(json.dumps(_as_json(job, result, elapsed_s), ensure_ascii=False))
    counts, n_done = result.counts, result.counts.n_done + result.counts.n_resumed
    of_shard = f" of shard {job.shard}" if job.shard else ""
    screen.print(
        f"Of the list pinned in the archive: {counted(n_done, 'recording')} done ({counts.n_resumed} of them "
        f"before), {counts.n_failed} failed; {result.n_ended} of {counted(result.n_units, 'unit')}{of_shard} in the "
        f"archive; {speed_text(counts.scored_s, elapsed_s)}.",
        markup=False,
    )
    screen.print(f"Run {result.run} of {job.folder}", markup=False)
    problems = console(no_color=screen.no_color)
    if result.n_failed_before:
        problems.print(
            f"failed before: {counted(result.n_failed_before, 'recording')}, listed by dawnchorus archive query "
            f"{shlex.quote(job.folder)} --table recordings --status failed --columns recording,reason",
            markup=False,
        )
    for failure in result.failures[:MAX_LISTED]:
        problems.print(f"failed: {failure.recording}: {failure.reason}", markup=False)
    if len(result.failures) > MAX_LISTED:
        problems.print(f"failed: and {len(result.failures) - MAX_LISTED} more")
    if counts.n_failed:
        screen.print("Use --resume, without --shard, to read failed recordings again.", markup=False)
        sys.exit(SOME_FAILED)


def _as_json(job: ArchiveJob, result: ArchiveResult, elapsed_s: float) -> dict[str, Any]:
    counts = result.counts
    return {
        "schema": JSON_SCHEMA,
        "archive": job.folder,
        "run": result.run,
        "shard": job.shard,
        "n_files": counts.n_files,
        "n_done": counts.n_done,
        "n_resumed": counts.n_resumed,
        "n_failed": counts.n_failed,
        "n_failed_before": result.n_failed_before,
        "n_units": result.n_units,
        "n_ended": result.n_ended,
        "scored_s": round(counts.scored_s, 3),
        "elapsed_s": round(elapsed_s, 3),
        "failures": [vars(failure) for failure in result.failures],
    }


@contextmanager
def _report_kept_units() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo(STOPPED, err=True)
        raise


# ---------------------------------------------------------------------- dawnchorus archive


@click.group("archive")
def command() -> None:
    """Query, check and maintain an archive of results."""


command.add_command(export)
command.add_command(import_)
command.add_command(rescore)
command.add_command(search)

archive_argument = click.argument("folder")


def _open(folder: str) -> Archive:
    from dawnchorus.archive.archive import open_archive

    return open_archive(folder)


@command.command("info")
@archive_argument
def info(*, folder: str) -> None:
    """Print the runs of an archive, and the sizes of its tables."""
    from dawnchorus.archive.maintenance import measure_tables

    archive = _open(folder)
    runs = Table(box=None, pad_edge=False)
    for name in ("run", "model", "bundle", "software", "windows", "kept", "analyses"):
        runs.add_column(name)
    for each in archive.runs():
        run = each.run
        runs.add_row(
            each.id,
            f"{run.model} {run.model_version}",
            run.bundle_id,
            run.software,
            f"{run.window_s:g} s, {run.overlap_s:g} s overlap",
            ("no detections" if run.top == 0 else f"score {run.min_score:.3g}, best {run.top or 'all'}")
            + (", embeddings" if run.embedding_dim else ""),
            ", ".join(run.analyses),
        )
    print_table(runs)
    click.echo()
    tables = Table(box=None, pad_edge=False)
    for name in ("table", "rows", "files", "MB"):
        tables.add_column(name, justify="left" if name == "table" else "right")
    for size in measure_tables(archive):
        tables.add_row(size.name, str(size.n_rows), str(size.n_files), f"{size.n_bytes / 1e6:.1f}")
    print_table(tables)


@command.command("status")
@archive_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, folder: str, as_json: bool) -> None:
    """Print how many units (groups of recordings) of each run are done, running, lost and waiting.

    Units are lost if their process seems to have died; `identify --archive` with the same --shard does them again.
    """
    from dawnchorus.archive.maintenance import read_status

    states, workers = read_status(_open(folder))
    if as_json:
        runs = [{**asdict(state), "n_waiting": state.n_waiting} for state in states]
        listed = [{**asdict(worker), "is_lost": worker.is_lost} for worker in workers]
        click.echo(json.dumps({"schema": JSON_SCHEMA, "runs": runs, "workers": listed}))
        return
    for state in states:
        share = 100 * state.ended_bytes / max(state.n_bytes, 1)
        click.echo(
            f"run {state.run} ({state.model}): {state.n_ended} of {counted(state.n_units, 'unit')} done ({share:.0f} % "
            f"of {state.n_bytes / 1e9:.2f} GB), {len(state.running)} running, {len(state.lost)} lost, "
            f"{state.n_waiting} waiting; {counted(state.n_recordings, 'recording')}, {state.n_failed} of them failed."
        )
    if not states:
        click.echo(f"{folder}: no recordings were listed yet.")
    for worker in workers:
        if worker.is_lost and not worker.units:
            continue  # others have done its units
        word = "lost" if worker.is_lost else "running"
        click.echo(
            f"{word}: process {worker.pid} on {worker.host}, shard {worker.shard}, "
            f"{counted(len(worker.units), 'unit')}, last seen {worker.age_s:.0f} s ago"
        )
    if any(state.lost for state in states):
        click.echo("Units that were lost are done by the same command: start their shards again.")


@command.command("query")
@archive_argument
@click.option(
    "--table",
    default="detections",
    show_default=True,
    help="Table to read: detections, recordings, or the name of an analysis.",
)
@click.option("--species", multiple=True, help="Scientific or common name of a species; repeatable.")
@click.option("--site", "sites", multiple=True, help="Only recordings of this site; repeatable.")
@click.option("--since", help="Earliest day or time, by the recorders' clocks.")
@click.option("--until", help="End of the time range, a day or time, exclusive.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Minimum score.  [default: all stored detections]")
@click.option(
    "--status", type=click.Choice(["done", "failed"]), help="Only recordings of this status (with --table recordings)."
)
@click.option(
    "--run", "runs", multiple=True, help="Only results of this run.  [default: the latest result of each recording]"
)
@click.option("--columns", help="Names of columns, separated by commas.  [default: all]")
@click.option("--out", type=LOCAL_PATH, help="Output file, .csv or .parquet.  [default: print csv]")
def query(
    *,
    folder: str,
    table: str,
    species: tuple[str, ...],
    sites: tuple[str, ...],
    since: str | None,
    until: str | None,
    min_score: float | None,
    status: Status | None,
    runs: tuple[str, ...],
    columns: str | None,
    out: Path | None,
) -> None:
    """Print detections, or rows of another table: the latest result of each recording, or the results of --run."""
    from dawnchorus.archive.exports import write_rows
    from dawnchorus.archive.schemas import DETECTIONS, RECORDINGS

    archive = _open(folder)
    _check_table(archive, table)
    note_unknown_sites(archive, sites)
    chosen = None if columns is None else [name.strip() for name in columns.split(",")]
    where: dict[str, Any] = {"since": since, "until": until, "sites": sites or None}
    if status is not None and table != RECORDINGS:
        raise InputError(f"--status: expected with the table recordings, got {table}. Add --table recordings.")
    if table == DETECTIONS:
        rows = archive.detections(
            species=species or None, min_score=min_score, runs=runs or None, columns=chosen, **where
        )
    elif species or min_score is not None:
        raise InputError(f"--species and --min-score: expected with the table detections, got {table}.")
    elif table == RECORDINGS:
        rows = archive.recordings(status=status, runs=runs or None, columns=chosen, **where)
    else:
        given = [f"--{name}" for name, value in (("site", sites), ("since", since), ("until", until)) if value]
        if given:
            raise InputError(f"{', '.join(given)}: expected with the table detections or recordings, got {table}.")
        rows = archive.analysis(table, runs=runs or None, columns=chosen)
    n_rows = write_rows(rows, out)
    if out is not None:
        click.echo(f"{out}: {counted(n_rows, 'row')}")


def _check_table(archive: Archive, table: str) -> None:
    """Raise if `query` cannot print a table.

    Raises:
        InputError: the table is unknown, has no results, or has embeddings.
    """
    from dawnchorus.archive.schemas import CLASSES, DETECTIONS, EMBEDDINGS, MANIFEST, RECORDINGS, RUNS

    known = [DETECTIONS, RECORDINGS, *archive.analyses()]
    if table in known:
        return
    advice = suggestion(table, known)
    if table == EMBEDDINGS:
        advice = " Embeddings are read in Python: open_archive(FOLDER).embeddings()."
    elif table in (RUNS, CLASSES, MANIFEST):
        advice = " `dawnchorus archive info` and `status` print runs; other programs read the tables (docs/ARCHIVE.md)."
    raise InputError(f"--table: expected {', '.join(known)}, got '{table}'.{advice}")


@command.command("check")
@archive_argument
def check(*, folder: str) -> None:
    """Check that no rows of an archive's tables are missing or repeated; exit with 1 if some are."""
    from dawnchorus.archive.maintenance import check_archive

    report = check_archive(_open(folder))
    for attempt, (n_rows, n_expected) in list(report.missing.items())[:MAX_LISTED]:
        click.echo(f"missing: unit {attempt.partition('-')[2]} has {n_rows} detections, expected {n_expected}")
    if report.repeated:
        click.echo(f"repeated: {counted(len(report.repeated), 'recording')} more than once, as {report.repeated[0]}")
    for name, attempts in (("uncommitted units", report.uncommitted), ("repeated attempts", report.surplus)):
        if attempts:
            click.echo(
                f"{sum(attempts.values())} rows of {name} ({len(attempts)}) are not counted; "
                f"`dawnchorus archive vacuum` removes them, unless their process is running."
            )
    if not report.is_whole:
        sys.exit(1)
    click.echo(f"{folder}: no row is missing or doubled.")


@command.command("compact")
@archive_argument
def compact(*, folder: str) -> None:
    """Merge small files to larger ones, detections sorted by species and site, to speed up queries."""
    from dawnchorus.archive.maintenance import compact_archive

    for name, n_before, n_after in compact_archive(_open(folder)):
        click.echo(f"{name}: {n_before} files before, {n_after} now")
    click.echo("Replaced files are kept for readers; `dawnchorus archive vacuum` removes them after a week.")


@command.command("vacuum")
@archive_argument
@click.option(
    "--older-than",
    type=click.FloatRange(0),
    default=7.0,
    show_default=True,
    help="Minimum age in days of the files to delete.",
)
def vacuum(*, folder: str, older_than: float) -> None:
    """Delete rows of interrupted or repeated attempts, and files that `compact` replaced."""
    from dawnchorus.archive.maintenance import vacuum_archive

    report = vacuum_archive(_open(folder), older_than_h=24 * older_than)
    click.echo(f"{counted(report.n_rows, 'row')} and {counted(report.n_files, 'file')} removed.")
    if report.kept:
        click.echo(f"{counted(len(report.kept), 'unit')} kept whose processes are running.")
