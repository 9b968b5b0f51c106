"""Species names from checklists and model labels on this machine, for the lookup of labels."""

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
    """Species names of all available checklists and of the default model's labels."""

    known: KnownClasses
    """Species of all lists, and the given labels of the data set, for the lookup by name or code."""
    editions: tuple[str, ...]
    """Names of the lists for messages, in order of precedence; empty if there are none."""
    notes: tuple[str, ...] = ()
    """Sentences for the user on lists that could not be read, or not completely."""


def open_name_lists(
    store: ModelStore, source: Path, *, checklists: Sequence[Path] = (), own: Iterable[Label] = ()
) -> NameLists:
    """Read all lists of species names.

    In order of precedence, these are `checklists`, the labels of the default model if it is installed, checklists near
    `source`, installed checklists, and `own`. Invalid checklists near `source` are skipped, with a note.

    Args:
        store: the models on this machine.
        source: the recordings' folder or table; checklists are also searched near it.
        checklists: checklist files given by the user.
        own: labels that the data set has already.

    Raises:
        InputError, FormatError: a file in `checklists` does not exist or is invalid.
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
