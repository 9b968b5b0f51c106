"""The command `dawnchorus completion`: completion scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, *, shell: str) -> None:
    """Print a completion script; for bash: eval "$(dawnchorus completion bash)"."""
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"No completion for {shell}.")
    click.echo(completion(ctx.find_root().command, {}, "dawnchorus", "_DAWNCHORUS_COMPLETE").source())
