"""Reading of text files, and of CSV files in a known format (without the guesses of `Table`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dawnchorus import tables
from dawnchorus.errors import FormatError


def read_text(path: Path) -> str:
    """Read a whole file as text, in the encoding that is detected; a guess of the encoding is not reported.

    Raises:
        FormatError: the file is a spreadsheet, or is not text.
    """
    return tables.read_text(path)


def csv_rows(
    path: Path, text: str, *, delimiter: str = ",", quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
) -> Iterator[list[str]]:
    """Yield the fields of each row of a CSV text, the header's included; [] for a blank row.

    Args:
        path: the file that the text is from, for errors.
        text: the content.
        delimiter: character between fields.
        quoting: `csv.QUOTE_MINIMAL`, or `csv.QUOTE_NONE` to read quotes as part of the fields.

    Raises:
        FormatError: a row is not CSV.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    try:
        yield from rows
    except csv.Error as error:
        raise FormatError(f"line {rows.line_num}: expected a table in CSV ({error}).", subject=path) from error


def csv_records(path: Path, text: str, *, delimiter: str = ",") -> tuple[list[str], Iterator[dict[str, str]]]:
    """Return the column names of a CSV text, and an iterator of its other rows as dicts of cells by column name.

    `path` is the file that the text is from, for errors.

    Blank rows are skipped, missing cells at a row's end are "", and cells beyond the last column are ignored. Of
    columns with the same name the last is read. An empty text has no columns and no rows.

    Raises:
        FormatError: the header is not CSV; while iterating: a row is not CSV.
    """
    rows = csv_rows(path, text, delimiter=delimiter)
    names = next(rows, [])
    return names, (dict(zip(names, row + [""] * (len(names) - len(row)), strict=False)) for row in rows if row)
