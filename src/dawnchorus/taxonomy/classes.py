"""Lookup of classes by the names that people write."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

from dawnchorus.taxonomy.labels import Label

MAX_SUGGESTIONS, MIN_SIMILARITY = 3, 0.75
"""Suggested classes for an unknown name, and the smallest ratio (difflib's) of their names to it."""

MAX_COMPARED = 100
"""Unknown names that get suggestions: comparing one with BirdNET's 13,000 names takes up to 0.1 s."""


class KnownClasses:
    """Classes by either name; case, spacing, underscores and Unicode form make no difference."""

    def __init__(self, labels: Iterable[Label]) -> None:
        labels = tuple(labels)
        self._by_name: dict[str, Label] = {}
        self._by_both: dict[str, Label] = {}
        self._near: dict[Label, tuple[Label, ...]] = {}
        for label in labels:  # before all common names, which can be another class's scientific one
            self._by_name.setdefault(name_key(label.scientific_name), label)
        for label in labels:
            self.add(label)

    def add(self, label: Label) -> None:
        """Add a class; names that an earlier one has stay with that one."""
        for name in filter(None, map(name_key, (label.scientific_name, label.common_name))):
            self._by_name.setdefault(name, label)
        self._by_both.setdefault(name_key(f"{label.scientific_name} {label.common_name}"), label)

    def find(self, wanted: Label) -> Label | None:
        """Return the class with the scientific name of `wanted`, with both names as one, or with its common name.

        One name of `wanted` can also be both names of a class: `Parus_major_Great_Tit`.
        """
        names = _names(wanted)
        found = next((self._by_name[name] for name in names if name in self._by_name), None)
        return found or next((self._by_both[name] for name in names if name in self._by_both), None)

    def near(self, wanted: Label) -> tuple[Label, ...]:
        """Return the classes whose names are most like those of `wanted`, at most `MAX_SUGGESTIONS`."""
        if wanted not in self._near and len(self._near) < MAX_COMPARED:
            names = (
                close
                for name in _names(wanted)
                for close in difflib.get_close_matches(name, self._by_name, n=MAX_SUGGESTIONS, cutoff=MIN_SIMILARITY)
            )
            found = dict.fromkeys(self._by_name[name] for name in names)
            self._near[wanted] = tuple(found)[:MAX_SUGGESTIONS]
        return self._near.get(wanted, ())

    def question(self, wanted: Label) -> str:
        """Return a sentence that says that no class is named so, and asks for the nearest ones."""
        near = " or ".join(_readable(label) for label in self.near(wanted))
        return f"'{label_text(wanted)}': no such class." + (f" Did you mean {near}?" if near else "")


def name_key(name: str) -> str:
    """Return the name as it is compared: without case, repeated spaces and underscores, and in one Unicode form."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").casefold().split())


def label_text(label: Label) -> str:
    """Return the label as BirdNET writes it, `Genus species_Common Name`, or its one name."""
    if label.common_name in ("", label.scientific_name):
        return label.scientific_name
    return f"{label.scientific_name}_{label.common_name}"


def nearest_species(names: Sequence[str], labels: Sequence[Label]) -> list[str]:
    """Return a message for each of `names` that is no scientific name of `labels`, with the nearest one."""
    scientific = {label.scientific_name for label in labels}
    unknown = [name for name in names if name not in scientific]
    known = KnownClasses(labels if unknown else ())
    lines = []
    for name in unknown:
        near = known.near(Label(name, name))
        hint = f" Did you mean '{near[0].scientific_name}'?" if near else ""
        lines.append(f"'{name}' is not a class of the model.{hint}")
    return lines


def _names(wanted: Label) -> dict[str, None]:
    """Return the names under which `wanted` may be known, in the order of precedence, without repetition."""
    scientific, common = name_key(wanted.scientific_name), name_key(wanted.common_name)
    # A folder such as great_tit is read as two names.
    both = f"{scientific} {common}" if common != scientific else ""
    return dict.fromkeys(name for name in (scientific, both, common) if name)


def _readable(label: Label) -> str:
    if label.common_name in ("", label.scientific_name):
        return label.scientific_name
    return f"{label.scientific_name} ({label.common_name})"
