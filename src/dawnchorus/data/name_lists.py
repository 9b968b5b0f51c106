"""Checklists and other lists of species names on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.errors import FormatError
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore
from dawnchorus.taxonomy.checklists import Checklist, find_checklists, installed_checklists, read_checklist
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label


@dataclass(frozen=True)
class NameLists:
    """Species names from all available checklists and models."""

    known: KnownClasses
    editions: tuple[str, ...]
    """The lists, the first of which takes precedence where they differ; empty if there are none."""
    notes: tuple[str, ...] = ()
    """Sentences on lists that could not be read, or not in full."""


def open_name_lists(
    store: ModelStore, source: Path, *, checklists: Sequence[Path] = (), own: Iterable[Label] = ()
) -> NameLists:
    """Open given checklists, the default model's labels, those near `source`, installed ones, and `own` names.

    Raises:
        InputError, FormatError: a given checklist does not exist or is invalid.
    """
    lists = [read_checklist(path) for path in checklists]
    bundle = store.find_installed(DEFAULT_MODEL)
    if bundle is not None:
        lists.append(Checklist(f"the labels of {DEFAULT_MODEL}", bundle.labels, {}))
    notes = []
    for path in find_checklists(source):
        try:
            lists.append(read_checklist(path))
        except FormatError as error:
            notes.append(f"not used as a checklist: {error}")
    notes += [f"{checklist.edition}: {note}" for checklist in lists for note in checklist.notes]
    lists.extend(installed_checklists())
    labels = [label for checklist in lists for label in checklist.labels]
    by_name: dict[str, Label] = {}
    codes: dict[str, Label] = {}
    for label in labels:
        by_name.setdefault(label.scientific_name, label)
    for checklist in lists:
        for code, label in checklist.codes.items():
            codes.setdefault(code, by_name.get(label.scientific_name, label))
    editions = tuple(checklist.edition for checklist in lists)
    return NameLists(KnownClasses([*labels, *own], codes), editions, tuple(notes))
