"""Lookup of species by the codes of eBird, iNaturalist and BirdCLEF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dawnchorus.errors import FormatError
from dawnchorus.taxonomy.checklists import find_checklists, read_checklist
from dawnchorus.taxonomy.labels import Label, is_binomial, read_label

Taxon = tuple[str | None, str | None, str | None]
"""Code, scientific name and common name; None if unknown."""


class TaxonNames:
    """Lookup of species by exactly spelled code; if several taxa have the same code, the first one is used.

    Args:
        taxa: (code, scientific name, common name) of each taxon; taxa without a code or a scientific name are skipped.
    """

    def __init__(self, taxa: Iterable[Taxon]) -> None:
        self._labels: dict[str, Label] = {}
        for code, scientific, common in taxa:
            if code and scientific:
                self._labels.setdefault(code, Label(scientific, common or scientific))

    @classmethod
    def read_for(cls, table: Path, *, own: Iterable[Taxon]) -> TaxonNames:
        """Collect codes for a table from `taxonomy.csv` near it, then its rows, then other checklists near it.

        If two of these sources have the same code, the first one counts. `own` are (code, scientific name, common name)
        of the table's rows. Invalid checklists are skipped.
        """
        paths = find_checklists(table)
        first = [path for path in paths if path.name == "taxonomy.csv"]
        return cls([*_taxa(first), *own, *_taxa(path for path in paths if path not in first)])

    def label(self, code: str | None) -> Label | None:
        """Return the species of a code; None if the code is unknown or None."""
        return self._labels.get(code or "")

    def scientific(self, text: str) -> str:
        """Return the scientific name of a code, or else of a label; return other texts unchanged.

        Labels have the form `Genus species_Common Name` or `Common Name (Genus species)`. Common names alone are
        returned unchanged.
        """
        label = self.label(text)
        if label is not None:
            return label.scientific_name
        label = read_label(text)
        return label.scientific_name if label is not None and is_binomial(label.scientific_name) else text


def _taxa(paths: Iterable[Path]) -> Iterator[Taxon]:
    """Yield the codes of checklist files; invalid files are skipped (`open_name_lists` reports them)."""
    for path in paths:
        with suppress(FormatError):
            for code, label in read_checklist(path).codes.items():
                yield code, label.scientific_name, label.common_name
