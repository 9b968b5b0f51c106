"""Lists of names on this machine, for the verbs that read labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from dawnchorus.errors import FormatError
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.taxonomy.checklists import Checklist, checklists_beside, installed_checklists, read_checklist
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label

checklists_option = click.option(
    "--checklist",
    "checklists",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A csv of species that gives English names and codes their scientific ones, as eBird's taxonomy; repeatable.",
)


@dataclass(frozen=True)
class NameLists:
    """Names of species from all lists that are there."""

    known: KnownClasses
    editions: tuple[str, ...]
    """The lists, the first of which counts where they differ; empty if there are none."""


def open_name_lists(
    models_folder: Path | None,
    source: Path,
    *,
    checklists: Sequence[Path] = (),
    own: Iterable[Label] = (),
) -> NameLists:
    """Return the names of given checklists, the default model, those beside `source`, installed ones, and `own` ones.

    Raises:
        InputError, FormatError: a given checklist is not there, or is none.
    """
    lists = [read_checklist(path) for path in checklists]
    bundle = ModelStore(models_folder or default_folder()).find_installed(DEFAULT_MODEL)
    if bundle is not None:
        lists.append(Checklist(f"the labels of {DEFAULT_MODEL}", bundle.labels, {}))
    for path in checklists_beside(source):
        try:
            lists.append(read_checklist(path))
        except FormatError as error:
            click.echo(f"warning: not used as a checklist: {error}", err=True)
    for checklist in lists:
        for note in checklist.notes:
            click.echo(f"note: {checklist.edition}: {note}", err=True)
    lists.extend(installed_checklists())
    labels = [label for checklist in lists for label in checklist.labels]
    by_name: dict[str, Label] = {}
    codes: dict[str, Label] = {}
    for label in labels:
        by_name.setdefault(label.scientific_name, label)
    for checklist in lists:
        for code, label in checklist.codes.items():
            codes.setdefault(code, by_name.get(label.scientific_name, label))
    return NameLists(KnownClasses([*labels, *own], codes), tuple(checklist.edition for checklist in lists))
