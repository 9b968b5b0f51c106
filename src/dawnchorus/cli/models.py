"""`dawnchorus models`."""

from __future__ import annotations

from pathlib import Path

import click

from dawnchorus.models.bundle import verify_bundle
from dawnchorus.models.store import BUILTIN_MODELS, ModelStore, default_folder


@click.group("models")
@click.option("--models-folder", type=click.Path(path_type=Path), envvar="DAWNCHORUS_MODELS")
@click.pass_context
def command(ctx: click.Context, *, models_folder: Path | None) -> None:
    """List, make, check and wrap models."""
    ctx.obj = ModelStore(models_folder or default_folder())


@command.command("list")
@click.pass_obj
def list_models(store: ModelStore) -> None:
    """The built-in models, their licences, and whether they are on this machine."""
    for model in BUILTIN_MODELS.values():
        bundle = store.installed(model.name)
        click.echo(f"{model.name}\t{bundle.id if bundle else 'not made yet'}\t{model.license}\t{model.summary}")


@command.command("pull")
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path, exists=True))
@click.pass_obj
def pull(store: ModelStore, *, name: str, source: Path | None) -> None:
    """Make a built-in model's bundle on this machine."""
    bundle = store.pull(name, source=source)
    click.echo(bundle.folder)


@command.command("path")
@click.argument("name")
@click.pass_obj
def path(store: ModelStore, *, name: str) -> None:
    """Print the folder of a model's bundle."""
    click.echo(store.open(name).folder)


@command.command("verify")
@click.argument("name")
@click.pass_obj
def verify(store: ModelStore, *, name: str) -> None:
    """Check a bundle against its checksums."""
    bundle = store.open(name)
    verify_bundle(bundle)
    click.echo(f"{bundle.folder}: intact (bundle {bundle.id})")
