"""Readers of class lists, the files that name the classes of a model from elsewhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from dawnchorus.errors import FormatError, InputError
from dawnchorus.tables import header_key
from dawnchorus.tables.text_files import csv_rows, read_text
from dawnchorus.taxonomy.labels import (
    Kind,
    Label,
    find_duplicate_class,
    name_key,
    names_one_species,
    parse_label,
    with_common_name,
)

LOG = logging.getLogger(__name__)

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
"""Columns with the index of a class in the model's output."""

MAX_NAMED = 10
"""Maximum number of classes that a log message names."""

_NO_LISTS = frozenset((".json", ".yaml", ".yml", ".pkl", ".npy", ".npz", ".xlsx"))
_INDEX_BEFORE = re.compile(r"[\[(]?(?P<index>\d+)\s*[\s,:;=|.)\]_-]\s*(?P<name>\S.*)")
"""A line that starts with an index: `0 Background Noise`, `0. Noise`, `0_Noise`, `[0] Noise`."""
_INDEX_BEHIND = re.compile(r"(?P<name>\S.*?)\s*[\s,:;=|_(\[]\s*(?P<index>\d+)[)\]]?")
"""A line that ends in an index: `Background Noise 0`, `Noise: 0`, `Noise (0)`."""
_QUOTED = re.compile(r"(?P<quote>['\"])(?P<name>.+)(?P=quote)")
_STRUCTURE = re.compile(r".*[{}].*|\[.*,.*\]|[\[\]]")
"""A line of JSON, Python or `.pbtxt` syntax, which is not a name."""


@dataclass(frozen=True)
class _Row:
    """One class as a row of the file names it."""

    line: int
    name: str
    common_name: str = ""
    index: str = ""


def read_classes(path: Path, *, kind: Kind | None = None) -> tuple[Label, ...]:
    """Read the labels of a model in output order, from a table with a header (`.csv`, `.tsv`) or one label per line.

    A table has the names in the first of `NAME_COLUMNS` that is among its columns. Its rows are sorted by the first of
    `INDEX_COLUMNS` (`index`, `idx`, `id`) among its columns; a column `id` without numbers is ignored.

    Lines are sorted by a number if all of them begin with one (`0 Noise`, `0. Noise`, `[0] Noise`), or if all end in
    one (`Noise 0`, `Noise (0)`), none is above the number of lines, and the names without it differ (`Song 1` and
    `Song 2` are names). The number is not part of the name. Without numbers, the order of the file is the output order.

    The numbers have to be 0, 1, 2... or 1, 2, 3..., each once, in any order.

    `kind` ("species" or "sound") is the kind of all classes; None to infer the kind of each class from its name.

    Raises:
        FormatError: the file is not text, a class has no name or appears twice, the indices have gaps or repetitions,
            only some lines have an index, another column of a table numbers the classes in another order, or a line is
            not a name (such as a comment).
        InputError: no such file, a file of another kind (such as `.json`), no labels, or a CSV without a column of
            names.
    """
    if not path.is_file():
        raise InputError(
            "no such file; expected the labels of the model, one in a line, in output order.", subject=path
        )
    if path.suffix.lower() in _NO_LISTS:
        raise InputError(
            f"expected a text file or a csv of labels, found {path.suffix}. Save one in a line.", subject=path
        )
    is_table = path.suffix.lower() in (".csv", ".tsv")
    column, rows = _table_rows(path) if is_table else _line_rows(path)
    if not rows:
        raise InputError("expected one class per row, found none.", subject=path)
    rows = _in_output_order(path, rows, column)
    for row in rows:
        if not row.name:
            raise FormatError(f"line {row.line}: expected a name for each class, found none.", subject=path)
    labels = tuple(map(_label, rows))
    _refuse_doubled(path, rows, labels)
    if kind is not None:
        return tuple(replace(label, kind=kind) for label in labels)
    _log_other_sounds(path, labels)
    return labels


def _label(row: _Row) -> Label:
    label = parse_label(row.name)
    if not names_one_species(row.name):
        label = replace(label, kind="sound")
    return with_common_name(label, row.common_name) if row.common_name else label


def _line_rows(path: Path) -> tuple[str, list[_Row]]:
    lines = read_text(path).rstrip().splitlines()
    rows = [_Row(number, _without_quotes(line)) for number, line in enumerate(lines, start=1)]
    for row in rows:
        if _STRUCTURE.fullmatch(row.name):
            raise FormatError(
                f"line {row.line}: expected one class in a line, and nothing else; found {row.name!r}.", subject=path
            )
    _refuse_other_lines(path, rows)
    before = [_INDEX_BEFORE.fullmatch(row.name) for row in rows]
    if len(rows) > 1 and all(before):
        return "index", _strip_indices(rows, before)
    behind = [_INDEX_BEHIND.fullmatch(row.name) for row in rows]
    if _are_all_indexed(behind):
        return "index", _strip_indices(rows, behind)
    if _is_partly_indexed(rows, before) or (_n_distinct(behind) > 1 and _are_positions(behind)):
        _refuse_partly_indexed(path, rows, before if any(before) else behind)
    for separator in "\t;|":
        if len(rows) > 1 and all(separator in row.name for row in rows):
            raise FormatError(
                f"expected one class in a line, found {separator!r} in each, as in {rows[0].name!r}. A table "
                f"needs a header with a column of names, and a name that ends in .csv.",
                subject=path,
            )
    return "", rows


def _refuse_other_lines(path: Path, rows: Sequence[_Row]) -> None:
    """Refuse comments and table headers, which would be read as classes and shift all others.

    Raises:
        FormatError: a line is a comment or a header.
    """
    names = {header_key(name) for name in NAME_COLUMNS}
    for row in rows:
        is_header = row is rows[0] and len(rows) > 1 and header_key(row.name) in names
        if row.name.startswith("#") or is_header:
            raise FormatError(
                f"line {row.line}: expected one class in a line, and nothing else; found "
                f"{'a header' if is_header else 'a remark'}, {row.name[:40]!r}. Leave the line out"
                f"{', or give the table a name that ends in .csv' if is_header else ''}.",
                subject=path,
            )


def _without_quotes(line: str) -> str:
    """Return a line without surrounding spaces, a comma at its end, and quotes around the whole."""
    text = line.strip().removesuffix(",").rstrip()
    match = _QUOTED.fullmatch(text)
    return text if match is None else match["name"].strip()


def _strip_indices(rows: list[_Row], matches: Sequence[re.Match[str] | None]) -> list[_Row]:
    pairs = zip(rows, matches, strict=True)
    return [
        _Row(row.line, _without_quotes(match["name"]), "", match["index"]) for row, match in pairs if match is not None
    ]


def _n_distinct(matches: Sequence[re.Match[str] | None]) -> int:
    """Return the number of names without their numbers; 0 if two are equal, so that the number is part of the name."""
    names = [name_key(match["name"]) for match in matches if match is not None]
    return len(names) if len(set(names)) == len(names) else 0


def _are_all_indexed(behind: Sequence[re.Match[str] | None]) -> bool:
    """Return True if every line ends in an index: without it, names must differ (`Song 1` and `Song 2` do not)."""
    numbers = [int(match["index"]) for match in behind if match is not None]
    return 1 < len(behind) == _n_distinct(behind) and max(numbers) <= len(behind)


def _are_positions(matches: Sequence[re.Match[str] | None]) -> bool:
    """Return True if at least two lines have a number, and all numbers are line positions, counted from 0 or from 1."""
    apart = [int(match["index"]) - index for index, match in enumerate(matches) if match is not None]
    return len(apart) > 1 and set(apart) in ({0}, {1})


def _is_partly_indexed(rows: list[_Row], before: Sequence[re.Match[str] | None]) -> bool:
    """Return True if some lines begin with an index, as opposed to a number in a name (`2 stroke engine`)."""
    numbered = [(row, match) for row, match in zip(rows, before, strict=True) if match is not None]
    is_list = 2 * len(numbered) >= len(rows) and all(int(match["index"]) <= len(rows) for _, match in numbered)
    is_dropped = any(parse_label(row.name) == parse_label(match["name"]) for row, match in numbered)
    return len(rows) > 1 and (is_list or is_dropped or _are_positions(before))


def _refuse_partly_indexed(path: Path, rows: list[_Row], matches: Sequence[re.Match[str] | None]) -> NoReturn:
    with_index, without = (
        [row for row, match in zip(rows, matches, strict=True) if (match is None) is is_without]
        for is_without in (False, True)
    )
    raise FormatError(
        f"expected a number on every line, as the order of the model's outputs, or on none; found one on "
        f"{len(with_index)} of {len(rows)} lines, as {with_index[0].name!r} (line {with_index[0].line}), and none in "
        f"{without[0].name!r} (line {without[0].line}). Number all lines, or none. A table with a header needs a name "
        f"that ends in .csv; there, numbers in the column of names are part of them.",
        subject=path,
    )


def _table_rows(path: Path) -> tuple[str, list[_Row]]:
    text = read_text(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    numbered = enumerate(csv_rows(path, text, delimiter=delimiter), start=1)
    header = [name.strip() for name in next(numbered, (0, []))[1]]
    keys = {header_key(name): column for column, name in reversed(list(enumerate(header)))}

    name, common, index = (
        next((keys[key] for key in map(header_key, names) if key in keys), None)
        for names in (NAME_COLUMNS, COMMON_NAME_COLUMNS, INDEX_COLUMNS)
    )
    if name is None:
        raise InputError(f"expected one of the columns {NAME_COLUMNS}, found {header}.", subject=path)
    common = None if common == name else common
    table = list(numbered)
    rows = [_Row(line, *(_cell(row, column) for column in (name, common, index))) for line, row in table if any(row)]
    for k, given in enumerate(header):
        if k not in (name, common, index):
            _refuse_other_order(
                path, given, [_cell(cells, k) for _, cells in table if any(cells)], [row.index for row in rows]
            )
    column = "" if index is None else header[index]
    is_order = column.lower() != "id" or any(row.index.isdecimal() for row in rows)
    return column if is_order else "", rows


def _cell(cells: list[str], column: int | None) -> str:
    return cells[column].strip() if column is not None and column < len(cells) else ""


def _refuse_other_order(path: Path, column: str, values: list[str], indices: list[str]) -> None:
    """Refuse a column that numbers the classes in another order than the rows or their indices.

    Raises:
        FormatError: the column numbers them in another order.
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
            f"column '{column}' counts the classes in another order than the {others}: {', '.join(order[:5])}"
            f"{'...' if len(order) > 5 else ''}. If it is the order of the model's outputs, call it 'index' and leave "
            f"other indices out; if not, leave it out.",
            subject=path,
        )


def _in_output_order(path: Path, rows: list[_Row], column: str) -> list[_Row]:
    """Return the rows sorted by their indices in `column`; unchanged if `column` is empty.

    Raises:
        FormatError: the indices are not 0, 1, 2... or 1, 2, 3... without repetition.
    """
    if not column:
        return rows
    rows = [replace(row, index=row.index.removesuffix(".0")) for row in rows]
    given = [row.index for row in rows]
    numbers = sorted(int(text) for text in given if text.isdecimal())
    first = numbers[0] if numbers else 0
    if first not in (0, 1) or numbers != list(range(first, first + len(rows))):
        raise FormatError(
            f"expected the numbers 0 to {len(rows) - 1} (or 1 to {len(rows)}) in '{column}', each once, as the "
            f"order of the model's outputs; found {', '.join(given[:5])}{'...' if len(given) > 5 else ''}. Correct "
            f"them, or leave the column out if the rows are in the order of the outputs.",
            subject=path,
        )
    if first == 1:
        LOG.info(f"{path}: '{column}' counts from 1: class 1 is taken as the model's first output.")
    return sorted(rows, key=lambda row: int(row.index))


def _refuse_doubled(path: Path, rows: list[_Row], labels: tuple[Label, ...]) -> None:
    """Refuse a class that appears twice: results could not distinguish its two outputs.

    Raises:
        FormatError: a class appears twice.
    """
    duplicate = find_duplicate_class(labels)
    if duplicate is None:
        return
    first, second = sorted((rows[index] for index in duplicate), key=lambda row: row.line)
    raise FormatError(
        f"lines {first.line} and {second.line}: expected each class once, found {first.name!r} and "
        f"{second.name!r}, which are one class. Give the two outputs names that differ.",
        subject=path,
    )


def _log_other_sounds(path: Path, labels: tuple[Label, ...]) -> None:
    """Log the classes that are not species."""
    others = [label.scientific_name for label in labels if label.kind == "sound"]
    if others:
        LOG.info(
            f"{path}: {len(others)} of {len(labels)} classes are not one species, and are never counted as species: "
            f"{', '.join(others[:MAX_NAMED])}{'...' if len(others) > MAX_NAMED else ''}."
        )
