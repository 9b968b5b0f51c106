"""The classes of a model, and lists of them as files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dawnchorus.errors import FormatError
from dawnchorus.text_files import csv_records

Kind = Literal["species", "sound"]
"""A class is a species, or another sound (an engine, a human voice, rain)."""

OTHER_SOUNDS = frozenset(
    name.lower()
    for name in (
        *("Dog", "Engine", "Environmental", "Fireworks", "Gun", "Human non-vocal", "Human vocal", "Human whistle"),
        *("Noise", "Power tools", "Siren", "Other", "Background", "Silence", "nocall", "no_call", "no-call"),
    )
)
"""Class names that are no species: BirdNET's, and the background folders of training sets. In lower case."""

_KINDS: dict[str, Kind] = {"species": "species", "sound": "sound"}

_COLUMNS = ("scientific_name", "common_name", "kind")


@dataclass(frozen=True)
class Label:
    """One class of a model."""

    scientific_name: str
    common_name: str
    kind: Kind = "species"


def parse_label(line: str) -> Label:
    """A label as BirdNET writes it, `Genus species_Common Name`, or one name alone."""
    scientific, _, common = line.partition("_")
    kind: Kind = "sound" if line.lower() in OTHER_SOUNDS or scientific.lower() in OTHER_SOUNDS else "species"
    if line.lower() in OTHER_SOUNDS or not common:
        return Label(line, line, kind)
    return Label(scientific, common, kind)


def read_label_lines(path: Path) -> tuple[Label, ...]:
    """The labels of a text file with one `Genus species_Common Name` in a line, in output order.

    Raises:
        FormatError: the file is not UTF-8 text, or has no labels.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: expected UTF-8 text, one label in a line ({error}).") from error
    labels = tuple(parse_label(line.strip()) for line in lines if line.strip())
    if not labels:
        raise FormatError(f"{path}: expected one label in a line, found none.")
    return labels


def read_labels(path: Path) -> tuple[Label, ...]:
    """The labels of a bundle's `labels.csv`, in output order.

    Raises:
        FormatError: columns or values are not as expected.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: expected UTF-8 text ({error}).") from error
    columns, rows = csv_records(path, text)
    if tuple(columns) != _COLUMNS:
        raise FormatError(f"{path}: expected the columns {_COLUMNS}, found {columns}.")
    labels = []
    for number, row in enumerate(rows, start=2):
        kind = _KINDS.get(row["kind"])
        if kind is None:
            raise FormatError(
                f"{path}, line {number}: expected kind to be one of {tuple(_KINDS)}, found {row['kind']!r}."
            )
        labels.append(Label(row["scientific_name"], row["common_name"], kind))
    if not labels:
        raise FormatError(f"{path}: expected one row per class, found none.")
    return tuple(labels)


def write_labels(path: Path, labels: Sequence[Label]) -> None:
    """Write a bundle's `labels.csv`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_COLUMNS)
        rows.writerows((label.scientific_name, label.common_name, label.kind) for label in labels)
