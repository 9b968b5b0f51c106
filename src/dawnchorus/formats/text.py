"""Functions that the text formats share: encoded streams, numbers, and tables with named columns."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from dawnchorus.errors import FormatError
from dawnchorus.tables import Table


@contextmanager
def text_stream(stream: BinaryIO) -> Iterator[TextIO]:
    """`stream` for UTF-8 text with `\\n` line ends; it stays open."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


def seconds(value: float) -> str:
    """Seconds with one to three decimals."""
    text = f"{value:.3f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def score(value: float) -> str:
    """Format a score with four decimals."""
    return f"{value:.4f}"


class NamedColumns:
    """Rows of a table, asked by any of a column's known names, however they are spelt.

    `delimiter` is the usual one, found where the header lacks it. `quoted` says whether fields may stand in quotes;
    None: if the first one does.

    Raises:
        FormatError: the file is empty, or no table; of a row with more fields than columns, when that is asked for.
    """

    def __init__(self, path: Path, *, delimiter: str | None = None, quoted: bool | None = True) -> None:
        self.path = path
        self.table = Table(path, delimiter=delimiter, quoted=quoted)
        self.header = self.table.header

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line numbers and fields, blank lines left out."""
        yield from self.table
        if self.table.long_rows:
            raise FormatError(
                f"{self.path}, line {self.table.long_rows[0]}: expected {len(self.header)} fields as in the header, "
                f"found more. Put values that have the delimiter {self.table.delimiter!r} in quotes."
            )

    def place(self, names: Sequence[str]) -> int | None:
        """Return the column that has one of `names`, the first that is there."""
        return self.table.place(names)

    def require(self, names: Sequence[str]) -> int:
        """As `place`; FormatError if there is no such column."""
        found = self.place(names)
        if found is None:
            raise FormatError(
                f"{self.path}: expected a column {' or '.join(repr(n) for n in names)}, found {self.header}."
            )
        return found

    def number(self, line: int, fields: list[str], column: int) -> float:
        """Return the field as a number; FormatError with the line if it is none."""
        value = self.table.numbers(column).parse(fields[column]) if column < len(fields) else None
        if value is None:
            came = fields[column] if column < len(fields) else "nothing"
            raise FormatError(
                f"{self.path}, line {line}: expected a number in '{self.header[column]}', found {came!r}."
            )
        return value

    def number_or_none(self, line: int, fields: list[str], column: int | None) -> float | None:
        """As `number`; None for an empty field or column."""
        if column is None or self.text(fields, column) is None:
            return None
        return self.number(line, fields, column)

    @staticmethod
    def text(fields: list[str], column: int | None) -> str | None:
        """Return the field without spaces around it; None for an empty field or column."""
        if column is None or column >= len(fields):
            return None
        return fields[column].strip() or None
