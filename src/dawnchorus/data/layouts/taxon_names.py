"""Species by the codes of eBird, iNaturalist and BirdCLEF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dawnchorus.errors import FormatError
from dawnchorus.taxonomy.checklists import find_checklists, read_checklist
from dawnchorus.taxonomy.labels import Label, is_binomial, read_label

Taxon = tuple[str | None, str | None, str | None]
"""Code, scientific and English name."""


class TaxonNames:
    """Lookup of species by code."""

    def __init__(self, taxa: Iterable[Taxon]) -> None:
        self._labels: dict[str, Label] = {}
        for code, scientific, common in taxa:
            if code and scientific:
                self._labels.setdefault(code, Label(scientific, common or scientific))

    @classmethod
    def read_for(cls, table: Path, *, own: Iterable[Taxon]) -> TaxonNames:
        """Read codes for a table: `taxonomy.csv` near it, its own codes, and the eBird taxonomy.

        The first that knows a code counts.
        """
        paths = find_checklists(table)
        first = [path for path in paths if path.name == "taxonomy.csv"]
        return cls([*_taxa(first), *own, *_taxa(path for path in paths if path not in first)])

    def label(self, code: str | None) -> Label | None:
        """Return the species of a code; None if it is unknown."""
        return self._labels.get(code or "")

    def scientific(self, text: str) -> str:
        """Return the scientific name of a code or label; other texts unchanged.

        Texts are codes, `Genus species_English Name` or `English Name (Genus species)`.
        """
        label = self.label(text)
        if label is not None:
            return label.scientific_name
        label = read_label(text)
        return label.scientific_name if label is not None and is_binomial(label.scientific_name) else text


def _taxa(paths: Iterable[Path]) -> Iterator[Taxon]:
    """Yield the codes of checklists; files that are none are reported where names are looked up."""
    for path in paths:
        with suppress(FormatError):
            for code, label in read_checklist(path).codes.items():
                yield code, label.scientific_name, label.common_name
