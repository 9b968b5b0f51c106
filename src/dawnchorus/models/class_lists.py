"""Files that list the classes of a foreign model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dawnchorus.errors import FormatError, InputError
from dawnchorus.tables import header_key
from dawnchorus.tables.text_files import csv_rows, read_text
from dawnchorus.taxonomy.labels import Kind, Label, name_key, parse_label, with_common_name

NAME_COLUMNS = (
    "scientific_name",
    "sci_name",
    "display_name",
    "label",
    "name",
    "common_name",
    "ebird2021",
    "species",
    "class",
)
COMMON_NAME_COLUMNS = ("common_name", "com_name")
INDEX_COLUMNS = ("index", "idx", "id")
"""Columns that say which output a row is of."""

_NO_LISTS = frozenset((".json", ".yaml", ".yml", ".pkl", ".npy", ".npz", ".xlsx"))
_NUMBERED = re.compile(r"(\d+)\s*[\s,:;.)_-]\s*(\S.*)")
"""A line that begins with its index: `0 Background Noise`, `0. Noise`, `0_Noise`."""


@dataclass(frozen=True)
class _Row:
    """One class as a file names it."""

    line: int
    name: str
    common_name: str = ""
    index: str = ""


def read_classes(
    path: Path, *, kind: Kind | None = None, on_note: Callable[[str], None] = lambda _note: None
) -> tuple[Label, ...]:
    """Return labels in output order: one in a line, or a csv with a header that names a column of names.

    The rows of a csv are sorted by a column `index`, `idx` or `id`, if its values are whole numbers; lines that all
    begin with a number are sorted by it. Numbers may begin at 0 or at 1.

    `kind` overrides what the names look like.

    Raises:
        FormatError: the file is no text, a class has no name or is there twice, or the indices are not 0, 1, 2...
        InputError: no such file, a file of another kind, no labels, or a csv without a column of names.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the labels of the model, one in a line, in output order.")
    if path.suffix.lower() in _NO_LISTS:
        raise InputError(f"{path}: expected a text file or a csv of labels, found {path.suffix}. Save one in a line.")
    is_table = path.suffix.lower() in (".csv", ".tsv")
    column, rows = _table_rows(path) if is_table else _line_rows(path)
    if not rows:
        raise InputError(f"{path}: expected one class per row, found none.")
    rows = _in_output_order(path, rows, column, on_note)
    for row in rows:
        if not row.name:
            raise FormatError(f"{path}, line {row.line}: expected a name for each class, found none.")
    labels = tuple(map(_label, rows))
    _refuse_doubled(path, rows, labels)
    return labels if kind is None else tuple(replace(label, kind=kind) for label in labels)


def _label(row: _Row) -> Label:
    label = parse_label(row.name)
    return with_common_name(label, row.common_name) if row.common_name else label


def _line_rows(path: Path) -> tuple[str, list[_Row]]:
    lines = read_text(path).rstrip().splitlines()
    rows = [_Row(number, line.strip()) for number, line in enumerate(lines, start=1)]
    numbered = [_NUMBERED.fullmatch(row.name) for row in rows]
    matches = [match for match in numbered if match is not None]
    if len(matches) < max(len(rows), 2):
        return "", rows
    return "index", [_Row(row.line, match[2], "", match[1]) for row, match in zip(rows, matches, strict=True)]


def _table_rows(path: Path) -> tuple[str, list[_Row]]:
    text = read_text(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    numbered = enumerate(csv_rows(path, text, delimiter=delimiter), start=1)
    header = [name.strip() for name in next(numbered, (0, []))[1]]
    keys = {header_key(name): column for column, name in reversed(list(enumerate(header)))}

    def find(names: tuple[str, ...]) -> int | None:
        return next((keys[key] for key in map(header_key, names) if key in keys), None)

    name, common, index = find(NAME_COLUMNS), find(COMMON_NAME_COLUMNS), find(INDEX_COLUMNS)
    if name is None:
        raise InputError(f"{path}: expected one of the columns {NAME_COLUMNS}, found {header}.")
    common = None if common == name else common

    def cell(cells: list[str], column: int | None) -> str:
        return cells[column].strip() if column is not None and column < len(cells) else ""

    table = list(numbered)
    rows = [_Row(line, cell(row, name), cell(row, common), cell(row, index)) for line, row in table if any(row)]
    for k, given in enumerate(header):
        if k not in (name, common, index):
            _refuse_other_order(
                path, given, [cell(cells, k) for _, cells in table if any(cells)], [row.index for row in rows]
            )
    column = "" if index is None else header[index]
    is_order = column.lower() != "id" or any(row.index.isdecimal() for row in rows)
    return column if is_order else "", rows


def _refuse_other_order(path: Path, column: str, values: list[str], indices: list[str]) -> None:
    """Refuse a column that counts the classes in another order than the rows, or than their indices.

    Raises:
        FormatError: it does.
    """
    order = [value.removesuffix(".0") for value in values]
    if len(order) < 2 or not all(value.isdecimal() for value in order):
        return
    numbers = [int(value) for value in order]
    first = min(numbers)
    is_count = first in (0, 1) and sorted(numbers) == list(range(first, first + len(numbers)))
    expected = [index for index in indices if index] or list(map(str, range(first, first + len(numbers))))
    if is_count and order != expected:
        others = "index" if any(indices) else "rows"
        raise FormatError(
            f"{path}: column '{column}' counts the classes in another order than the {others}: {', '.join(order[:5])}"
            f"{'...' if len(order) > 5 else ''}. If it is the order of the model's outputs, call it 'index' and leave "
            f"other indices out; if not, leave it out."
        )


def _in_output_order(path: Path, rows: list[_Row], column: str, on_note: Callable[[str], None]) -> list[_Row]:
    """Return the rows sorted by their indices, if they have a column of such.

    Raises:
        FormatError: the indices are not 0, 1, 2... or 1, 2, 3... once each.
    """
    if not column:
        return rows
    rows = [replace(row, index=row.index.removesuffix(".0")) for row in rows]
    given = [row.index for row in rows]
    numbers = sorted(int(text) for text in given if text.isdecimal())
    first = numbers[0] if numbers else 0
    if first not in (0, 1) or numbers != list(range(first, first + len(rows))):
        raise FormatError(
            f"{path}: expected the numbers 0 to {len(rows) - 1} (or 1 to {len(rows)}) in '{column}', each once, as the "
            f"order of the model's outputs; found {', '.join(given[:5])}{'...' if len(given) > 5 else ''}. Correct "
            f"them, or leave the column out if the rows are in the order of the outputs."
        )
    if first == 1:
        on_note(f"{path}: '{column}' counts from 1: class 1 is taken as the model's first output.")
    return sorted(rows, key=lambda row: int(row.index))


def _refuse_doubled(path: Path, rows: list[_Row], labels: tuple[Label, ...]) -> None:
    """Refuse a class that is named twice: results could not tell its two outputs apart.

    Raises:
        FormatError: a class is there twice.
    """
    first: dict[str, _Row] = {}
    for row, label in zip(rows, labels, strict=True):
        other = first.setdefault(name_key(label.scientific_name), row)
        if other is not row:
            lines = sorted((other.line, row.line))
            raise FormatError(
                f"{path}, lines {lines[0]} and {lines[1]}: expected each class once, found {other.name!r} and "
                f"{row.name!r}, which are one class. Give the two outputs names that differ."
            )
