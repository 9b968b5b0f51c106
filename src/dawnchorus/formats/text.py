"""What the text formats share: encoded streams, numbers, and tables with named columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

from dawnchorus.errors import FormatError
from dawnchorus.text_files import csv_rows, read_text


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
    """A score with four decimals."""
    return f"{value:.4f}"


class NamedColumns:
    """Rows of a delimited text file, asked by any of a column's known names, in any case.

    `quoted` says whether fields may stand in quotes; None: if the first one does.

    Raises:
        FormatError: the file is empty, or no table.
    """

    def __init__(self, path: Path, *, delimiter: str, quoted: bool | None = True) -> None:
        self.path = path
        content = read_text(path)
        quoted = content.startswith('"') if quoted is None else quoted
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        lines = csv_rows(path, content, delimiter=delimiter, quoting=quoting)
        header = next(lines, None)
        if not header:
            raise FormatError(f"{path}: expected a header line, found an empty file.")
        self.header = [name.strip() for name in header]
        self._lines = lines
        self._places = {name.lower(): k for k, name in enumerate(self.header)}

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Line numbers and fields, blank lines left out."""
        for number, fields in enumerate(self._lines, start=2):
            if any(field.strip() for field in fields):
                yield number, fields

    def place(self, names: Sequence[str]) -> int | None:
        """The column that has one of `names`, the first that is there."""
        return next((self._places[n.lower()] for n in names if n.lower() in self._places), None)

    def require(self, names: Sequence[str]) -> int:
        """As `place`; FormatError if there is no such column."""
        found = self.place(names)
        if found is None:
            raise FormatError(
                f"{self.path}: expected a column {' or '.join(repr(n) for n in names)}, found {self.header}."
            )
        return found

    def number(self, line: int, fields: list[str], column: int) -> float:
        """The field as a number; FormatError with the line if it is none."""
        try:
            return float(fields[column])
        except (ValueError, IndexError):
            came = fields[column] if column < len(fields) else "nothing"
            raise FormatError(
                f"{self.path}, line {line}: expected a number in '{self.header[column]}', found {came!r}."
            ) from None

    def number_or_none(self, line: int, fields: list[str], column: int | None) -> float | None:
        """As `number`; None for an empty field or column."""
        if column is None or self.text(fields, column) is None:
            return None
        return self.number(line, fields, column)

    @staticmethod
    def text(fields: list[str], column: int | None) -> str | None:
        """The field without spaces around it; None for an empty field or column."""
        if column is None or column >= len(fields):
            return None
        return fields[column].strip() or None
