"""The option `--checklist`, and the lists of species names for commands that read labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from dawnchorus.data import name_lists
from dawnchorus.data.name_lists import NameLists
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.taxonomy.labels import Label

checklists_option = click.option(
    "--checklist",
    "checklists",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A csv of species that gives English names and codes their scientific ones, as eBird's taxonomy; repeatable.",
)


def open_name_lists(
    models_folder: Path | None, source: Path, *, checklists: Sequence[Path] = (), own: Iterable[Label] = ()
) -> NameLists:
    """Read the lists of species names (see `dawnchorus.data.name_lists`), and print notes on unreadable ones.

    Args:
        models_folder: folder of models; None: `$DAWNCHORUS_MODELS`, or else the user's cache.
        source: the recordings' folder or table, near which checklists are searched.
        checklists: files of the option `--checklist`, which have precedence over all other lists; may be empty.
        own: labels of the data set, which come last in precedence; may be empty.

    Raises:
        InputError, FormatError: a file in `checklists` does not exist or is invalid.
    """
    store = ModelStore(models_folder or default_folder())
    names = name_lists.open_name_lists(store, source, checklists=checklists, own=own)
    for note in names.notes:
        click.echo(f"note: {note}", err=True)
    return names
