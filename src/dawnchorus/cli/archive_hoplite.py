"""The commands `dawnchorus archive export` and `import`: exchange of embeddings with Perch-Hoplite databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dawnchorus.cli.options import LOCAL_PATH, models_folder_option, workers_option
from dawnchorus.cli.present import announce_model, console
from dawnchorus.cli.progress import show_progress
from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.tables.notes import counted


@click.command("export")
@click.argument("folder")
@click.argument("out", type=LOCAL_PATH)
@click.option("--run", help="Only embeddings of this run.  [default: the latest ones of each recording]")
@workers_option
def export(*, folder: str, out: Path, run: str | None, workers: int) -> None:
    """Write the embeddings of an archive to OUT, a new Perch-Hoplite database."""
    from dawnchorus.archive.archive import open_archive
    from dawnchorus.archive.hoplite import export_hoplite

    with show_progress(console(), duration_s=None) as report:
        n_windows = export_hoplite(open_archive(folder), out, run=run, workers=workers, report=report)
    click.echo(f"{out}: {counted(n_windows, 'window')}")


@click.command("import")
@click.argument("database", type=LOCAL_PATH)
@click.argument("folder")
@click.option("--model", help="Model that made the embeddings: a built-in one, or a bundle's folder.")
@models_folder_option
@click.option("--audio", type=LOCAL_PATH, help="Folder of the recordings.  [default: the one in the database]")
def import_(*, database: Path, folder: str, model: str | None, models_folder: Path | None, audio: Path | None) -> None:
    """Add the embeddings of a Perch-Hoplite DATABASE to an archive, which is created if missing."""
    from dawnchorus.archive.archive import create_archive
    from dawnchorus.archive.hoplite import import_hoplite
    from dawnchorus.archive.hoplite_files import HopliteReader

    HopliteReader(database).recordings()  # refused before an archive is created
    fields = None
    if model is not None:
        store = ModelStore(models_folder or default_folder())
        announce_model(store, model)
        fields = _describe(store.open(model))
    with show_progress(console(), duration_s=None) as report:
        result = import_hoplite(database, create_archive(folder), model=fields, audio=audio, report=report)
    click.echo(f"{counted(result.n_windows, 'window')} added, of {counted(result.n_recordings, 'recording')}.")
    click.echo(f"Run {result.run} of {folder}")
    if result.n_annotations:
        click.echo(f"note: {counted(result.n_annotations, 'label')} of people are left out: an archive has none.")


def _describe(bundle: Bundle) -> dict[str, Any]:
    """Return the fields that an archive stores on the model of imported embeddings.

    Raises:
        ModelError: the model has no embeddings.
    """
    info = bundle.info
    if info.embedding_dim is None:
        raise ModelError(f"{info.name}: this model has no embeddings.", subject=bundle.folder)
    return {
        "model": info.name,
        "model_version": info.version,
        "bundle_id": bundle.id,
        "sample_rate_hz": info.sample_rate_hz,
        "window_s": info.window_s,
        "embedding_dim": info.embedding_dim,
    }
