"""Reader of CSV tables with a header, in any encoding and with any delimiter."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dawnchorus.errors import FormatError
from dawnchorus.tables.dates import DateColumn
from dawnchorus.tables.encoding import read_text
from dawnchorus.tables.notes import Notes, counted_rows
from dawnchorus.tables.numbers import NumberColumn
from dawnchorus.tables.times import TimeColumn
from dawnchorus.tables.units import IN_BRACKETS, NAMES, CellUnit, cell_unit
from dawnchorus.tables.words import ERROR_VALUE, is_error_value

DELIMITERS = (",", ";", "\t", "|")
ONE_COLUMN = "\x1f"
"""Delimiter of tables with one column: ASCII's unit separator, which no text contains."""

_SPREADSHEETS = (".xls", ".xlsx", ".xlsm", ".ods", ".numbers")
_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
_SPACED_HEADER = re.compile(r'"[^"\n]*"(?: "[^"\n]*")+\r?\n')
"""Header of quoted names separated by spaces, as R writes."""
_COMMA = re.compile(r",\d")
_QUOTED_COMMA = re.compile(r'"[^"\n]*,\d[^"\n]*"')
_FORMULA = re.compile(r'^="([^"]*)"$')
"""Text written as a formula, `="012"`, to protect it from changes by spreadsheets."""
_N_LOOKED_AT = 200
"""Rows from which the delimiter is inferred."""
_N_NAMED = 3


def header_key(name: str) -> str:
    """Normalize a column name for comparison: only its letters (without accents) and digits, in lower case."""
    return re.sub(r"[\W_\u0300-\u036f]+", "", unicodedata.normalize("NFKD", name).casefold())


class Table:
    """A CSV table in any encoding, delimiter and header spelling.

    Iteration yields (line number from 1, cells) of each row, with one cell per column; cells that a row lacks are "".
    It may be repeated. Blank rows are skipped. Rows with more filled cells than the header, rows that repeat the
    header, comments (`# ...`) and a title before the header are skipped with a note. `notes` is complete once all rows
    have been read. A spreadsheet error such as `#REF!` is read as an empty cell, with a note; `="012"` is read as 012.
    Row names that R writes before the first column are dropped. A direction or time zone in brackets in a column's
    name, `latitude (S)`, `time (UTC)`, is appended to each cell of the column that has none.

    Args:
        path: the CSV file.
        delimiter: the expected delimiter, used if the first line contains it; otherwise, and if None, the delimiter is
            inferred. A first line `sep=;` takes precedence.
        quoted: True if quotes around a cell are no part of its text, False if they are; None: True if the file begins
            with a quote.
        text: the file's content, if the caller has read it; None reads `path`.

    Attributes:
        path: the CSV file.
        header: names of the columns as written, without spaces around them; unnamed columns at the end are left out.
        delimiter: the delimiter that is used; `ONE_COLUMN` for a table with one column.
        notes: guesses, and values that were left out.

    Raises:
        FormatError: the file is a spreadsheet, not text, or has no header; here or while iterating: a row is not CSV;
            while iterating: all rows have more cells than the header.
    """

    def __init__(
        self, path: Path, *, delimiter: str | None = None, quoted: bool | None = True, text: str | None = None
    ) -> None:
        if path.suffix.lower() in _SPREADSHEETS:
            raise FormatError(
                "expected a csv, found a spreadsheet. Save it as CSV (in Excel: File, Save As, CSV UTF-8).",
                subject=path,
            )
        self.path = path
        self.notes = Notes()
        lines = _Lines.of(read_text(path, self.notes) if text is None else text)
        quoted = lines.text.startswith('"') if quoted is None else quoted
        self._quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        has_usual = delimiter is not None and delimiter in lines.text.lstrip().partition("\n")[0]
        usual = delimiter if has_usual else None
        self.delimiter = lines.delimiter or usual or _find_delimiter(lines.text, self._quoting)
        self._lines = lines
        self._has_formulas = '="' in lines.text
        self._has_errors = ERROR_VALUE.search(lines.text) is not None
        open_quote = _find_open_quote(lines.text, self.delimiter) if quoted else None
        self._by_line = open_quote is not None
        self._remarks: dict[int, str] = {}
        """Texts of skipped rows that are only a comment (`# ...`) or a title, by line number."""
        _number, header = next(self._raw_rows(), (0, []))
        while header and not header[-1].strip():
            header.pop()
        if not any(map(header_key, header)):
            raise FormatError("expected a header line, found an empty file.", subject=path)
        self.header = [name.strip() for name in header]
        self._keys = column_keys(self.header)
        self._skips_first_cell = self._has_row_names()
        self.long_rows: Sequence[int] = ()
        """Line numbers of the skipped rows with more cells than the header; () until all rows have been read."""
        self._may_have_commas: bool | None = None
        """True if a number may have a comma; None until `numbers` is first called."""
        self._numbers: dict[int, NumberColumn] = {}
        if open_quote is not None:
            line = open_quote + lines.n_skipped
            self.notes.add(f"line {line}: a quote does not close before the delimiter: each line is read as a row.")
        self._note_doubled_names()
        self._units = self._read_units()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of each row."""
        long_rows: list[int] = []
        errors: list[_CellError] = []
        n_headers = n_rows = 0
        n_cells = len(self.header)
        for line, cells in self._body():
            if cells[0].strip() == self.header[0] and [cell.strip() for cell in cells[:n_cells]] == self.header:
                n_headers += 1
            elif len(cells) > n_cells and any(cell.strip() for cell in cells[n_cells:]):
                long_rows.append(line)
            else:
                n_rows += 1
                if self._has_formulas:
                    cells = [_FORMULA.sub(r"\1", cell) for cell in cells]
                if self._has_errors:
                    errors += self._find_errors(line, cells)
                    cells = ["" if is_error_value(cell) else cell for cell in cells]
                if self._units:
                    units = self._units
                    cells = [units[k].apply(cell) if k in units else cell for k, cell in enumerate(cells)]
                yield line, cells if len(cells) == n_cells else [*cells, *[""] * (n_cells - len(cells))][:n_cells]
        self._note_rows(long_rows, n_headers, n_rows)
        self._note_errors(errors)

    def find_column(self, names: Sequence[str]) -> int | None:
        """Return the index of the column with the first of `names` that the header has; None if it has none of them.

        Names are compared as `header_key` normalizes them, with and without a text in brackets.
        """
        return next((self._keys[key] for key in map(header_key, names) if key in self._keys), None)

    def column(self, index: int) -> Iterator[str]:
        """Yield the cells of the column with this index, one per row, in the order of the rows."""
        return (cells[index] for _line, cells in self)

    def unread(self, read: Collection[int]) -> dict[str, str]:
        """Return the first non-blank value of each column whose index is not in `read`, by column name.

        Columns without any value are left out.

        A column without a name is "column 3" (counted from 1); of columns with the same name the last is returned.
        """
        others = [index for index in range(len(self.header)) if index not in read]
        values = {index: next((cell.strip() for cell in self.column(index) if cell.strip()), "") for index in others}
        return {self.header[index] or f"column {index + 1}": value for index, value in values.items() if value}

    def numbers(self, index: int) -> NumberColumn:
        """Return the parser of numbers for the column with this index; a second call returns the same parser."""
        if index not in self._numbers:
            if self._may_have_commas is None:
                commas = _QUOTED_COMMA if self.delimiter == "," else _COMMA
                self._may_have_commas = commas.search(self._lines.text) is not None
            values = self.column(index) if self._may_have_commas else iter(())
            name, prefer_comma = self.header[index], self.delimiter != ","
            self._numbers[index] = NumberColumn(name, values, self.notes, prefer_comma=prefer_comma)
        return self._numbers[index]

    def dates(self, index: int) -> DateColumn:
        """Return a new parser of dates for the column with this index.

        In a table with semicolons, its argument `prefer_day_first` is True.
        """
        prefer_day_first = self.delimiter == ";"
        return DateColumn(self.header[index], self.column(index), self.notes, prefer_day_first=prefer_day_first)

    def times(self, index: int) -> TimeColumn:
        """Return a new parser of times of day for the column with this index."""
        return TimeColumn(self.header[index], self.column(index), self.notes)

    def _read_units(self) -> dict[int, CellUnit]:
        """Return the units in column names by column index; add a note on units that are not understood."""
        units = {k: cell_unit(name, _bare_key(name), _UNIT_KEYS) for k, name in enumerate(self.header)}
        for k, unit in units.items():
            if unit.unknown:
                self.notes.add(
                    f"column '{self.header[k]}': '{unit.unknown}' in its name is not understood and not applied: "
                    "values are read as they stand. Write a direction as S or W, a zone as UTC or +02:00."
                )
        return {k: unit for k, unit in units.items() if unit.suffix}

    def _raw_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number, cells) of the header and each row, without blank rows, comments and titles."""
        is_header = True
        for line, cells in self._rows_by_line() if self._by_line else self._rows():
            if len(cells) > 1 and cells[0].strip() and cells[1].strip():
                is_header = False
                yield line, cells
                continue
            filled = [cell.strip() for cell in cells if cell.strip()]
            if filled and _is_remark(cells, is_header=is_header):
                self._remarks[line] = filled[0]
            elif filled:
                is_header = False
                yield line, cells

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        rows = csv.reader(io.StringIO(self._lines.text, newline=""), delimiter=self.delimiter, quoting=self._quoting)
        before = 0
        try:
            for cells in rows:
                yield before + 1 + self._lines.n_skipped, cells
                before = rows.line_num
        except csv.Error as error:
            line = rows.line_num + self._lines.n_skipped
            raise FormatError(f"line {line}: expected a table in CSV ({error}).", subject=self.path) from error

    def _rows_by_line(self) -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(self._lines.text.splitlines(), start=1 + self._lines.n_skipped):
            try:
                yield number, next(csv.reader([line], delimiter=self.delimiter), [])
            except csv.Error as error:
                raise FormatError(f"line {number}: expected a row in CSV ({error}).", subject=self.path) from error

    def _body(self) -> Iterator[tuple[int, list[str]]]:
        rows = self._raw_rows()
        next(rows, None)
        return ((line, cells[1:]) for line, cells in rows) if self._skips_first_cell else rows

    def _has_row_names(self) -> bool:
        """Return True if each row begins with an extra cell, a unique number: the row names that R writes."""
        rows = self._raw_rows()
        next(rows, None)
        firsts = []
        for _line, cells in rows:
            if len(cells) != len(self.header) + 1 or not cells[0].strip().isdigit():
                return False
            firsts.append(cells[0])
        return len(set(firsts)) == len(firsts) > 0 and len(self.header) > 1

    def _find_errors(self, line: int, cells: Sequence[str]) -> Iterator[_CellError]:
        """Yield the cells of a row with a spreadsheet error such as `#REF!`."""
        for name, cell in zip(self.header, cells, strict=False):
            if is_error_value(cell):
                yield _CellError(line, name, cell.strip())

    def _note_errors(self, errors: Sequence[_CellError]) -> None:
        columns: dict[str, list[_CellError]] = {}
        for error in errors:
            columns.setdefault(error.column, []).append(error)
        for name, of_column in columns.items():
            first = of_column[0]
            self.notes.add(
                f"column '{name}': errors of a spreadsheet, read as empty, in {counted_rows(len(of_column))} (line "
                f"{first.line}: '{first.value}')."
            )

    def _note_rows(self, long_rows: Sequence[int], n_headers: int, n_rows: int) -> None:
        self.long_rows = long_rows
        if long_rows:
            lines = ", ".join(map(str, long_rows[:_N_NAMED])) + (", ..." if len(long_rows) > _N_NAMED else "")
            sentence = (
                f"{counted_rows(len(long_rows))} with more cells than the header's {len(self.header)}, left out (line "
                f"{lines}): put values that have the delimiter {self.delimiter!r} in quotes."
            )
            if not n_rows:
                raise FormatError(f"{sentence}", subject=self.path)
            self.notes.add(sentence)
        if n_headers:
            self.notes.add(f"{counted_rows(n_headers)} with the header once more, left out.")
        if self._remarks:
            line, text = next(iter(self._remarks.items()))
            self.notes.add(f"{counted_rows(len(self._remarks))} with a remark alone, left out (line {line}: '{text}').")

    def _note_doubled_names(self) -> None:
        seen: dict[str, int] = {}
        for index, key in enumerate(map(header_key, self.header)):
            if key and seen.setdefault(key, index) != index:
                self._note_doubled(seen[key], index)

    def _note_doubled(self, first: int, second: int) -> None:
        """Note two columns of one name with different values; the second is read only if the first is empty."""
        pairs = [
            (line, cells[first].strip(), cells[second].strip())
            for line, cells in self._body()
            if len(cells) > second and cells[second].strip() != cells[first].strip()
        ]
        if not pairs:
            return
        if not any(value for _line, value, _other in pairs) and not any(
            cells[first].strip() for _line, cells in self._body() if len(cells) > first
        ):
            self._keys[header_key(self.header[first])] = second
            return
        line, value, other = pairs[0]
        differ = f"which differ in {counted_rows(len(pairs))} (line {line}: '{value}' and '{other}')"
        self.notes.add(f"two columns '{self.header[first]}', {differ}; the first is read.")


@dataclass(frozen=True)
class _CellError:
    """A cell with a spreadsheet error such as `#REF!`."""

    line: int
    column: str
    value: str


class _Lines:
    """The text of a table without the line `sep=;` that tells Excel the delimiter."""

    def __init__(self, text: str, *, n_skipped: int, delimiter: str | None) -> None:
        self.text = text
        self.n_skipped = n_skipped
        self.delimiter = delimiter

    @classmethod
    def of(cls, text: str) -> _Lines:
        first, end, rest = text.partition("\n")
        rows = _SEPARATOR_LINE.fullmatch(first) if end else None
        return cls(rest, n_skipped=1, delimiter=rows[1]) if rows else cls(text, n_skipped=0, delimiter=None)


def column_keys(header: Sequence[str]) -> dict[str, int]:
    """Return column indices by name as `header_key` normalizes it, with and without the text in brackets.

    Of columns with equal names, the first is returned. Names with their text in brackets take precedence.
    """
    keys: dict[str, int] = {}
    for name_of in (header_key, _bare_key):
        for index, name in enumerate(header):
            if key := name_of(name):
                keys.setdefault(key, index)
    return keys


def _bare_key(name: str) -> str:
    """Normalize a column's name without the text in brackets."""
    return header_key(IN_BRACKETS.sub("", name))


_UNIT_KEYS = {kind: frozenset(map(header_key, names)) for kind, names in NAMES.items()}


def _is_remark(cells: Sequence[str], *, is_header: bool) -> bool:
    """Return True for a blank row, a comment (`# ...`), and, before the header, a single filled cell of several."""
    filled = [cell for cell in cells if cell.strip()]
    is_title = is_header and len(cells) > 2 and len(filled) == 1
    return not filled or is_title or (len(filled) == 1 and filled[0].lstrip().startswith("#"))


def _find_delimiter(text: str, quoting: Literal[0, 3]) -> str:
    """Return the delimiter by which most rows have as many cells as the header; of equals, the one with most cells."""
    if _SPACED_HEADER.match(text):
        return " "
    best, most = ONE_COLUMN, (0.0, 0)
    for delimiter in DELIMITERS:
        rows = _first_rows(text, delimiter, quoting)
        header = rows[0] if rows else []
        while header and not header[-1].strip():
            header.pop()
        if len(header) < 2:
            continue
        fitting = [row for row in rows[1:] if len(header) <= len(row) and not any(map(str.strip, row[len(header) :]))]
        merit = (len(fitting) / len(rows[1:]) if rows[1:] else 1.0, len(header))
        if merit > most:
            best, most = delimiter, merit
    return best


def _first_rows(text: str, delimiter: str, quoting: Literal[0, 3]) -> list[list[str]]:
    """Return the first rows, without blank rows, comments and titles."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting):
            if not _is_remark(row, is_header=not rows):
                rows.append(row)
            if len(rows) > _N_LOOKED_AT:
                break
    except csv.Error:
        return rows
    return rows


def _find_open_quote(text: str, delimiter: str) -> int | None:
    """Return the line number of a quote that opens a cell and is not closed at its end; None if all are closed."""
    if '"' not in text:
        return None
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for _row in rows:
            line = rows.line_num + 1
    except csv.Error as error:
        return None if "limit" in str(error) else line
    return None
