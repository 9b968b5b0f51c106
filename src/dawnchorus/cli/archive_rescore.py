"""The command `dawnchorus archive rescore`: new scores from stored embeddings."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from dawnchorus.cli.options import is_given, models_folder_option, ray_option, workers_option
from dawnchorus.cli.present import MAX_LISTED, SOME_FAILED, announce_model, console, speed_text
from dawnchorus.cli.progress import show_progress
from dawnchorus.identification.options import KEPT_MIN_SCORE, KEPT_TOP
from dawnchorus.inference.model import Model
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.tables.notes import counted

if TYPE_CHECKING:
    from pathlib import Path

    from dawnchorus.identification.archiving import ArchiveResult

JSON_SCHEMA = 1


@click.command("rescore")
@click.argument("folder")
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    help="Folder of a bundle or training run whose model is a head on the stored embeddings; repeatable.",
)
@models_folder_option
@click.option(
    "--run", "runs", multiple=True, help="Run whose embeddings are scored.  [default: all runs that fit the model]"
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=KEPT_MIN_SCORE,
    show_default=True,
    help="Minimum score of stored detections.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=KEPT_TOP,
    show_default=True,
    help="Maximum number of species stored for one window.",
)
@click.option("--shard", metavar="I/N", help="Process only part I of N parts of the recordings.")
@ray_option("Address")
@workers_option
@click.option("--resume", is_flag=True, help="Add recordings whose embeddings were stored since the last call.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each new run.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no summary; failures only.")
def rescore(
    *,
    folder: str,
    models: tuple[str, ...],
    models_folder: Path | None,
    runs: tuple[str, ...],
    min_score: float,
    top: int,
    shard: str | None,
    ray: str | None,
    workers: int,
    resume: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score stored embeddings with classifiers (heads) trained on them, as new runs; needs no audio."""
    from dawnchorus.identification.rescoring import rescore_archive

    screen = Console(quiet=True) if quiet else console()
    store = ModelStore(models_folder or default_folder())
    n_failed = 0
    for name in models:
        announce_model(store, name)
        model = Model(store.open(name), store)
        start_s = time.monotonic()
        # Ray writes messages about its nodes to standard output, which is for --json.
        quiet_nodes = nullcontext() if ray is None else redirect_stdout(sys.stderr)
        with quiet_nodes, show_progress(screen, duration_s=None) as report:
            results = rescore_archive(
                folder,
                model,
                runs=runs or None,
                min_score=min_score,
                top=top,
                shard=shard,
                # Each node of a cluster has cores of its own.
                workers=workers if ray is None or is_given("workers") else None,
                resume=resume,
                ray=ray,
                report=report,
            )
        elapsed_s = time.monotonic() - start_s
        for result in results:
            n_failed += len(result.failures)
            _print_result(result, model.name, elapsed_s, screen, as_json=as_json)
    if n_failed:
        sys.exit(SOME_FAILED)


def _print_result(result: ArchiveResult, model: str, elapsed_s: float, screen: Console, *, as_json: bool) -> None:
    counts = result.counts
    if as_json:
        fields: dict[str, Any] = {
            "schema": JSON_SCHEMA,
            "run": result.run,
            "model": model,
            "n_files": counts.n_files,
            "n_done": counts.n_done,
            "n_resumed": counts.n_resumed,
            "n_failed": counts.n_failed,
            "n_detections": counts.n_detections,
            "n_units": result.n_units,
            "scored_s": round(counts.scored_s, 3),
            "elapsed_s": round(elapsed_s, 3),
            "failures": [vars(failure) for failure in result.failures],
        }
        click.echo(json.dumps(fields, ensure_ascii=False))
    screen.print(
        f"{model}: {counted(counts.n_done + counts.n_resumed, 'recording')} done ({counts.n_resumed} of them before), "
        f"{counts.n_failed} failed; {counts.n_detections} detections kept, "
        f"{speed_text(counts.scored_s, elapsed_s)}. Run {result.run}",
        markup=False,
    )
    problems = console()
    for failure in result.failures[:MAX_LISTED]:
        problems.print(f"failed: {failure.recording}: {failure.reason}", markup=False)
    if len(result.failures) > MAX_LISTED:
        problems.print(f"failed: and {len(result.failures) - MAX_LISTED} more")
