"""Species by the codes of eBird, iNaturalist and BirdCLEF."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dawnchorus.taxonomy.file_names import is_binomial
from dawnchorus.taxonomy.labels import Label
from dawnchorus.text_files import csv_records, read_text

_COLUMNS = (("primary_label", "scientific_name", "common_name"), ("species_code", "sci_name", "primary_com_name"))
"""Code, scientific and English name, in lower case: in BirdCLEF's `taxonomy.csv` and in eBird's taxonomy."""

_NAMED_IN_BRACKETS = re.compile(r"\(([^()]+)\)$")

Taxon = tuple[str | None, str | None, str | None]
"""Code, scientific and English name."""


class TaxonNames:
    """Labels by code."""

    def __init__(self, taxa: Iterable[Taxon]) -> None:
        self._labels: dict[str, Label] = {}
        for code, scientific, common in taxa:
            if code and scientific:
                self._labels.setdefault(code, Label(scientific, common or scientific))

    @classmethod
    def beside(cls, table: Path, *, own: Iterable[Taxon]) -> TaxonNames:
        """Return the codes of `taxonomy.csv` beside a table or above it, those of the table, and those of eBird's.

        The first that knows a code counts.
        """
        folders = (table.parent, table.parent.resolve().parent)
        taxonomies = [path for folder in folders if (path := folder / "taxonomy.csv").is_file()]
        ebird = [path for folder in folders for path in sorted(folder.glob("[eE][bB]ird_[tT]axonomy*.csv"))]
        return cls([*_taxa(taxonomies), *own, *_taxa(ebird)])

    def label(self, code: str | None) -> Label | None:
        """Return the species of a code."""
        return self._labels.get(code or "")

    def scientific(self, text: str) -> str:
        """Return the scientific name that the text has or stands for, or else the text.

        Texts are codes, `Genus species_English Name` or `English Name (Genus species)`.
        """
        found = self.label(text)
        if found is not None:
            return found.scientific_name
        in_brackets = _NAMED_IN_BRACKETS.search(text)
        name = in_brackets[1] if in_brackets else text.partition("_")[0]
        return name if is_binomial(name) else text


def _taxa(paths: Iterable[Path]) -> list[Taxon]:
    taxa: list[Taxon] = []
    for path in paths:
        _header, lines = csv_records(path, read_text(path))
        for line in lines:
            values = {name.strip().lower(): value.strip() for name, value in line.items()}
            taxa += [(values.get(a), values.get(b), values.get(c)) for a, b, c in _COLUMNS]
    return taxa
