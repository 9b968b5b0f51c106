"""Checklists of species (eBird, AviList, BirdCLEF), which map common names and codes to scientific names."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.errors import FormatError, InputError
from dawnchorus.storage.paths import is_remote
from dawnchorus.tables import Notes, read_text
from dawnchorus.tables.text_files import csv_records
from dawnchorus.taxonomy.labels import Label

SCIENTIFIC_COLUMNS = ("scientific_name", "sci_name", "scientific name")
ENGLISH_COLUMNS = (
    *("common_name", "primary_com_name", "english name", "english_name", "english_name_avilist"),
    *("avilist_common_name", "ebird_common_name"),
)
CODE_COLUMNS = ("primary_label", "species_code", "ebird_code", "species_code_cornell_lab", "ebird_ebird_code")
RANK_COLUMNS = ("category", "taxon_rank", "avilist_taxon_rank")
"""Column names, in lower case, in BirdCLEF's `taxonomy.csv`, eBird's and Clements' taxonomy and AviList."""

_FILES = ("taxonomy.csv", "[eE][bB]ird_[tT]axonomy*.csv", "[aA]vi[lL]ist*.csv")
_PACKAGE = "birdnames"
_PACKAGE_FILES = {"AviList 2025": "avilist_2025_taxonomy.csv", "eBird 2024": "ebird_2024_taxonomy.csv"}


@dataclass(frozen=True)
class Checklist:
    """Species names and codes of one edition of a checklist."""

    edition: str
    """Name of the checklist for messages, such as "eBird 2024", or its file's name."""
    labels: tuple[Label, ...]
    """Species: rows of rank "species" or without a rank. A species without a common name has its scientific name in
    both fields."""
    codes: dict[str, Label]
    """Taxa of any rank by their codes as written, such as eBird's `gretit1`; of equal codes the first row counts."""
    notes: tuple[str, ...] = ()
    """Sentences for the user on guesses made in reading the file, such as its encoding."""


def read_checklist(path: Path, *, edition: str | None = None) -> Checklist:
    """Read a checklist from a CSV file with scientific names, and common names or codes.

    Args:
        path: the CSV file.
        edition: name of the checklist for messages; None takes the file's name.

    Raises:
        InputError: no such file.
        FormatError: the file is not text or not CSV, or has no column of scientific names.
    """
    if not path.is_file():
        raise InputError(
            "no such file; expected a checklist of species as csv, such as eBird's taxonomy.", subject=path
        )
    notes = Notes()
    text = read_text(path, notes)
    header = text.partition("\n")[0]
    columns, lines = csv_records(path, text, delimiter=max(",;\t", key=header.count))
    names = {name.strip().lower(): name for name in columns}
    scientific, english, code, rank = (
        next((names[name] for name in spellings if name in names), "")
        for spellings in (SCIENTIFIC_COLUMNS, ENGLISH_COLUMNS, CODE_COLUMNS, RANK_COLUMNS)
    )
    if not scientific:
        raise FormatError(f"expected a column {' or '.join(SCIENTIFIC_COLUMNS)}, found {columns}.", subject=path)
    labels: dict[Label, None] = {}
    codes: dict[str, Label] = {}
    for line in lines:
        name = line[scientific].strip()
        if not name:
            continue
        label = Label(name, line.get(english, "").strip() or name)
        if line.get(rank, "species").strip().lower() in ("", "species"):
            labels[label] = None
        if code and line[code].strip():
            codes.setdefault(line[code].strip(), label)
    return Checklist(edition or path.name, tuple(labels), codes, tuple(notes.sentences()))


def find_checklists(source: Path) -> list[Path]:
    """Return the checklist files in the folder `source` (or in the folder of a file), then those in its parent folder.

    Files are found by their usual names, such as `taxonomy.csv`. Remote folders (`s3://...`) are not searched.
    """
    if is_remote(source):
        return []
    folder = source.absolute() if source.is_dir() else source.absolute().parent
    return [
        path for directory in (folder, folder.parent) for pattern in _FILES for path in sorted(directory.glob(pattern))
    ]


def installed_checklists() -> Iterator[Checklist]:
    """Yield AviList and the eBird taxonomy from the package `birdnames` (extra [taxonomy]); nothing if not installed.

    Raises:
        FormatError: a file of the package is invalid.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    folders: Sequence[str] = (spec and spec.submodule_search_locations) or ()
    for folder in folders:
        version = importlib.metadata.version(_PACKAGE)
        for edition, name in _PACKAGE_FILES.items():
            path = Path(folder, "data", "processed", name)
            if path.is_file():
                yield read_checklist(path, edition=f"{edition} ({_PACKAGE} {version})")
