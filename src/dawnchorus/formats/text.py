"""Functions shared by text formats: encoded streams, numbers, tables with named columns."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from dawnchorus.errors import FormatError
from dawnchorus.formats.checks import find_problem, has_name
from dawnchorus.formats.mark_notes import MarkNotes
from dawnchorus.formats.review import ReviewColumns
from dawnchorus.suggestions import nearest
from dawnchorus.tables import Table, is_blank, parse_offset_s, units
from dawnchorus.types import Detection, Mark

LOG = logging.getLogger(__name__)

_GRADE = re.compile(r"\d|10")
"""A whole number from 0 to 10, which is a person's grade; model scores have decimals."""


def convert_marks(path: Path, marks: Iterable[Mark]) -> Iterator[tuple[str | None, Detection]]:
    """Yield (recording, detection) for each mark with a detection; `path` is the table, for warnings and errors.

    Marks with neither a score nor the name of a species are left out, with a warning in the log. If only some marks
    have scores, a warning says that the others get the score 1.

    Raises:
        FormatError: a row could not be read, has an impossible time or score (see `checks.find_problem`), or a score
            but no name.
    """
    unscored: list[int] = []
    unnamed: list[int] = []
    n_scored = 0
    for mark in marks:
        if mark.problem:
            raise RowError(path, mark.line, mark.problem)
        if mark.detection is not None:
            if not mark.is_scored and not has_name(mark.detection):
                unnamed.append(mark.line)
                continue
            if mark.is_scored:
                n_scored += 1
            else:
                unscored.append(mark.line)
            yield mark.recording, check_row(path, mark.line, mark.detection)
    if n_scored and unscored:
        LOG.warning(
            f"{path}: {len(unscored)} of {n_scored + len(unscored)} rows have no score, such as line {unscored[0]}; "
            f"like annotations of a person, they get the score 1."
        )
    if unnamed:
        LOG.warning(
            f"{path}: marks without the name of a species are left out: {len(unnamed)}, such as line {unnamed[0]}. "
            f"Fill in a name to keep them."
        )


def check_row(path: Path, line: int, detection: Detection) -> Detection:
    """Return the detection of a line unchanged, if its values are possible; `path` and `line` are for the error.

    Raises:
        FormatError: the detection has an impossible time or score, or no name (see `checks.find_problem`).
    """
    if (problem := find_problem(detection)) is not None:
        field, sentence = problem
        raise RowError(path, line, f"{field}: {sentence}")
    return detection


@contextmanager
def text_stream(stream: BinaryIO) -> Iterator[TextIO]:
    r"""Wrap a binary `stream` for writing UTF-8 text with `\n` line ends, flushed at the end; the stream stays open."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


def seconds(value: float) -> str:
    """Format seconds with one to three decimals, without further zeros at the end: "3.0", "1.25"."""
    text = f"{value:.3f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def score(value: float) -> str:
    """Format a score with four decimals."""
    return f"{value:.4f}"


class RowError(FormatError):
    """Error in a row of a table; `problem` is the reason, without the line number.

    Args:
        path: the table.
        line: number of the line, from 1.
        problem: the reason.
    """

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}", subject=path)
        self.problem = problem


_MAX_NAMED = 8
_SIMILARITY = 0.8
"""Minimum similarity (difflib ratio) between a column's name and a known name for a suggestion."""


def near_column(header: Iterable[str], names: Iterable[str]) -> str:
    """Return a question for the user on a column of `header` that is spelled almost like one of `names`.

    For example: " Is the column 'strat' meant to be 'start'?", with a space to follow the sentence of an error. Empty
    if there is no such column.
    """
    known = list(names)
    unknown = [name for name in header if name.lower() not in known and not _has_other_unit(name, known)]
    near = ((name, nearest(name, known, cutoff=_SIMILARITY)) for name in unknown)
    return next((f" Is the column '{name}' meant to be '{alike[0]}'?" for name, alike in near if alike), "")


def _has_other_unit(name: str, names: Iterable[str]) -> bool:
    """Return True for a name that differs from one of `names` only in its unit."""
    without = units.IN_BRACKETS.sub("", name).strip().lower()
    return bool(units.extract_brackets(name)) and without in (
        units.IN_BRACKETS.sub("", each).strip().lower() for each in names
    )


class NamedColumns:
    """Rows of a table whose columns are found by any of several known names, in any spelling.

    Iteration yields (line number, fields) of each row, without blank lines; each row has one field per column.

    Args:
        path: the table.
        delimiter: preferred delimiter; another one is detected if the header lacks it. None to detect.
        quoted: True if fields may be in quotes, False if quotes are part of the text; None: True if the file begins
            with a quote.

    Attributes:
        path: the table.
        table: reader of the table.
        header: names of the columns.

    Raises:
        FormatError: the file is empty or not a table. At its end, iteration raises if a row has more fields than
            columns.
    """

    def __init__(self, path: Path, *, delimiter: str | None = None, quoted: bool | None = True) -> None:
        self.path = path
        self.table = Table(path, delimiter=delimiter, quoted=quoted)
        self.header = self.table.header
        self._clocks: set[int] = set()
        """Indices of columns with clock-like times, such as `1:02.5`."""
        self._used: set[int] = set()
        """Indices of columns that were read."""

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and fields of each row, without blank lines."""
        yield from self.table
        if self.table.long_rows:
            raise RowError(self.path, self.table.long_rows[0], self._too_long())

    def marks(self, read: Callable[[int, list[str]], Mark], notes: MarkNotes | None) -> Iterator[Mark]:
        """Yield `read(line, fields)` for each row; rows that cannot be read become marks with a problem.

        A row cannot be read if `read` raises `RowError`, or if the row has more fields than the header; marks of rows
        that are too long come last. Outcomes of review columns, such as `Reject`, are set in the marks.

        Args:
            read: function that converts the line number and the fields of a row to a mark.
            notes: get guesses about the file, such as its encoding, and non-empty columns that were not found or used
                before; None to drop these messages.
        """
        return self.iterate_marks(lambda line, fields: (read(line, fields),), notes)

    def iterate_marks(
        self, read: Callable[[int, list[str]], Iterable[Mark]], notes: MarkNotes | None
    ) -> Iterator[Mark]:
        """Yield the marks of all rows as `marks` does, but with a `read` that returns any number of marks for a row.

        The arguments are those of `marks`.
        """
        notes = notes or MarkNotes()
        review = ReviewColumns(self.table)
        self.use(*review.indices)
        unread = [index for index in range(len(self.header)) if index not in self._used]
        for line, fields in self.table:
            for index in [index for index in unread if fields[index].strip()]:
                notes.add_unread(self.path, line, self.header[index] or f"column {index + 1}", fields[index].strip())
                unread.remove(index)
            try:
                yield from [review.judge(mark, fields) for mark in read(line, fields)]
            except RowError as error:
                yield Mark(line, None, problem=error.problem)
        for line in self.table.long_rows:
            yield Mark(line, None, problem=self._too_long())
        for sentence in self.table.notes.sentences():
            notes.add(self.path, sentence)

    def _too_long(self) -> str:
        return (
            f"expected {len(self.header)} fields as in the header, found more. Put values that have the delimiter "
            f"{self.table.delimiter!r} in quotes."
        )

    def find_column(self, names: Sequence[str]) -> int | None:
        """Return the index of the column with the first of `names` that the header has, and mark the column as read.

        Case, accents and punctuation are ignored. None if the header has none of the names.
        """
        column = self.table.find_column(names)
        if column is not None:
            self.use(column)
        return column

    def use(self, *indices: int) -> None:
        """Mark columns, given by index, as read, so that `marks` does not report them as unread."""
        self._used.update(indices)

    def score_column(self, names: Sequence[str]) -> int | None:
        """Return the index of the column of model scores, and mark it as read; None if there is none.

        `names` are the possible names of the column. A column is a person's rating and not a score if at least half of
        its filled cells are words (`high`), or all numbers are grades (whole numbers from 0 to 10). An empty column is
        a score column.
        """
        column = self.table.find_column(names)
        if column is None:
            return None
        numbers = self.table.numbers(column)
        filled = [cell.strip() for cell in self.table.column(column) if not is_blank(cell)]
        n_scores = sum(not _GRADE.fullmatch(cell) for cell in filled if numbers.parse(cell) is not None)
        if filled and (n_scores == 0 or sum(numbers.parse(cell) is not None for cell in filled) * 2 <= len(filled)):
            return None
        self.use(column)
        return column

    def require(self, names: Sequence[str]) -> int:
        """Return the index of the column that `find_column` finds, and mark the column as read.

        Raises:
            FormatError: no column has one of `names`.
        """
        index = self.find_column(names)
        if index is None:
            usual = " or ".join(map(repr, names[:_MAX_NAMED]))
            near = near_column(self.header, names)
            raise FormatError(f"expected a column {usual}, found {self.header}.{near}", subject=self.path)
        return index

    def number(self, line: int, fields: list[str], column: int) -> float:
        """Parse the field of a column as a number; one in kHz, by the unit in the column's name, is converted to Hz.

        Args:
            line: line number of the row, for the error.
            fields: all fields of the row.
            column: index of the column.

        Raises:
            RowError: the field is missing, or not a number.
        """
        value = self.table.numbers(column).parse(fields[column]) if column < len(fields) else None
        if value is None:
            raise RowError(self.path, line, self._format_expected("a number", fields, column))
        return value * (units.factor(self.header[column], units.HERTZ) or 1.0)

    def offset_s(self, line: int, fields: list[str], column: int) -> float:
        """Parse a field as a time in the recording, and return it in seconds; also a clock-like time (`1:02.5`).

        The arguments are those of `number`. Minutes or milliseconds are converted, by the unit in the column's name; a
        number in a column without a unit is in seconds.

        Raises:
            RowError: the field is not a time, or the column's unit is not one of time.
        """
        numbers = self.table.numbers(column)
        text = fields[column]
        value = numbers.parse(text)
        if value is not None:
            factor = units.factor(self.header[column], units.SECONDS)
            if factor is None:
                raise RowError(
                    self.path, line, self._format_expected("seconds (s), minutes (min) or (ms)", fields, column)
                )
            return value * factor
        value = parse_offset_s(text, comma=numbers.comma)
        if value is None:
            raise RowError(self.path, line, self._format_expected("a number", fields, column))
        if ":" in text and column not in self._clocks:
            self._clocks.add(column)
            name = self.header[column]
            self.table.notes.add(f"column '{name}': times such as '{text.strip()}' are read as {value:g} s.")
        return value

    def _format_expected(self, expected: str, fields: list[str], column: int) -> str:
        came = fields[column] if column < len(fields) else "nothing"
        return f"expected {expected} in '{self.header[column]}', found {came!r}."

    def number_or_none(self, line: int, fields: list[str], column: int | None) -> float | None:
        """Parse a field as `number` does; None for an empty field, or if `column` is None.

        Raises:
            RowError: the field is not a number.
        """
        if column is None or self.text(fields, column) is None:
            return None
        return self.number(line, fields, column)

    def channel(self, fields: list[str], column: int | None) -> int | None:
        """Parse a field as a channel number, from 1; None for anything else, since some tables have channel names.

        `fields` are all fields of the row; a `column` of None gives None.
        """
        text = self.text(fields, column) or ""
        return int(text) if text.isdecimal() and int(text) else None

    @staticmethod
    def text(fields: list[str], column: int | None) -> str | None:
        """Return the field of a column without spaces around it; None for an empty field, or if `column` is None."""
        if column is None or column >= len(fields):
            return None
        return fields[column].strip() or None
