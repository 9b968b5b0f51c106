"""`dawnchorus identify`."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import click

from dawnchorus.formats.registry import FORMATS, table_format
from dawnchorus.identify import Options, Run, identify
from dawnchorus.identify.options import DEFAULT_MIN_SCORE, DEFAULT_RANGE_THRESHOLD
from dawnchorus.identify.weeks import week_of
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder

SOME_FAILED = 3


@click.command("identify")
@click.argument("paths", nargs=-1, required=True)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A built-in model, or a bundle's folder.")
@click.option("--min-score", type=float, default=DEFAULT_MIN_SCORE, show_default=True)
@click.option("--overlap", type=float, default=0.0, show_default=True, help="Seconds shared by neighbouring windows.")
@click.option("--lat", type=float, help="Latitude in degrees; with --lon, flags species that are out of range.")
@click.option("--lon", type=float, help="Longitude in degrees.")
@click.option("--week", type=int, help="Week of the 48-week year, 1 to 48.")
@click.option("--date", "day", type=date.fromisoformat, help="Date (YYYY-MM-DD) instead of --week.")
@click.option("--range-threshold", type=float, default=DEFAULT_RANGE_THRESHOLD, show_default=True)
@click.option("--drop-out-of-range", is_flag=True, help="Leave out what the range model does not expect.")
@click.option("--top", type=int, help="At most so many species in one window.")
@click.option("--merge", is_flag=True, help="Join neighbouring windows of a species into events.")
@click.option("--out", type=click.Path(path_type=Path), help="A file for one table, or a folder for one per recording.")
@click.option("--format", "formats", multiple=True, type=click.Choice(list(FORMATS)))
@click.option("--workers", type=click.IntRange(1), help="Cores to use.  [default: all]")
@click.option("--resume", is_flag=True, help="Add new recordings to a finished run.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--models-folder", type=click.Path(path_type=Path), envvar="DAWNCHORUS_MODELS")
def command(
    *,
    paths: tuple[str, ...],
    model: str,
    min_score: float,
    overlap: float,
    lat: float | None,
    lon: float | None,
    week: int | None,
    day: date | None,
    range_threshold: float,
    drop_out_of_range: bool,
    top: int | None,
    merge: bool,
    out: Path | None,
    formats: tuple[str, ...],
    workers: int | None,
    resume: bool,
    overwrite: bool,
    models_folder: Path | None,
) -> None:
    """Find the birds in recordings: files, folders and globs."""
    options = Options(
        min_score=min_score,
        overlap_s=overlap,
        top=top,
        merge=merge,
        latitude=lat,
        longitude=lon,
        week=week_of(day) if day else week,
        range_threshold=range_threshold,
        drop_out_of_range=drop_out_of_range,
    )
    run = identify(
        paths,
        options,
        model=model,
        out=out,
        formats=formats or None,
        workers=workers,
        resume=resume,
        overwrite=overwrite,
        store=ModelStore(models_folder or default_folder()),
    )
    if out is None:
        table_format(formats[0] if formats else "csv").write(sys.stdout.buffer, run.tables(), run.provenance)
    _report(run)
    if run.failures:
        sys.exit(SOME_FAILED)


def _report(run: Run) -> None:
    for problem in run.warnings:
        click.echo(f"warning: {problem.recording}: {problem.reason}", err=True)
    for problem in run.failures:
        click.echo(f"failed: {problem.reason}", err=True)
