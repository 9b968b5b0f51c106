"""Detection of tables that refer to recordings, but are no tables of marks (annotated segments)."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from dawnchorus.data.layouts.annotations import RecordingNames, text_files
from dawnchorus.data.layouts.tables import TableLayout
from dawnchorus.errors import FormatError
from dawnchorus.formats.registry import marks_format
from dawnchorus.tables import Table, posix_path

MAX_TABLE_BYTES = 1 << 26
"""Maximum size in bytes of a text file that is searched for names."""

_N_ROWS = 2000
"""Number of first rows that are searched."""

_MIN_SHARE = 0.5
"""Minimum share of a column's values, or of the recordings, that must match the other."""


@dataclass(frozen=True)
class NamingTable:
    """A table that refers to recordings, by a column of file names or by its own name."""

    path: Path
    """The file of the table."""
    recordings: tuple[Path, ...]
    """The recordings that the table refers to."""
    column: str | None
    """Name of the column with names of recordings; None if the table is named after its recording."""
    has_known_columns: bool = False
    """True if an import of the table would recognize both its column of paths and its column of species."""

    def evidence(self) -> str:
        """Return a clause for messages with the evidence that the table refers to recordings."""
        if self.column is None:
            return f"{self.path.name} is named after {self.recordings[0].name}"
        n = len(self.recordings)
        return f"'{self.column}' of {self.path.name} names {n} recording{'' if n == 1 else 's'}"

    def command(self) -> str:
        """Return the arguments of `dawnchorus` that import the table as labels of the recordings, for messages.

        They have placeholders for the user to replace: SET for the new data set's folder and, unless
        `has_known_columns`, COLUMN for the column of species.
        """
        folder = os.path.commonpath([path.parent for path in self.recordings])
        command = shlex.join(("data", "import", str(self.path), "SET", "--audio", folder))
        if self.has_known_columns:
            return command
        return f"{command} --column {shlex.quote(f'path={self.column}')} --column scientific_name=COLUMN"


def find_naming_tables(source: Path, files: Sequence[Path]) -> Iterator[NamingTable]:
    """Yield tables at or below the path `source` that refer to recordings of `files`, but are no tables of marks.

    Of a table's columns, the one that names most recordings counts; it must name half of `files`, or half of its values
    must be names of recordings. Without such a column, a table counts that is named after exactly one recording. Tables
    above 64 MiB are left out.
    """
    names = RecordingNames(source, files)
    by_name: dict[str, list[Path]] = {}
    for path in files:
        for name in {path.name.casefold(), path.stem.casefold()}:
            by_name.setdefault(name, []).append(path)
    for table in text_files(source):
        if table.stat().st_size > MAX_TABLE_BYTES or marks_format(table) is not None:
            continue
        match = _named_in(table, by_name, len(files))
        owners = names.named_by_table(table)
        if match is not None:
            yield match
        elif len(owners) == 1:
            yield NamingTable(table, tuple(owners), None)


def _named_in(table: Path, by_name: dict[str, list[Path]], n_files: int) -> NamingTable | None:
    """Return the table with the column that names most recordings; None if no column names enough."""
    try:
        rows = Table(table)
        cells = [fields for _, fields in islice(rows, _N_ROWS)]
    except FormatError:
        return None
    best: NamingTable | None = None
    for index, column in enumerate(rows.header):
        given = {PurePosixPath(posix_path(fields[index].strip())).name.casefold() for fields in cells} - {""}
        named = sorted({path for name in given for path in by_name.get(name, ())})
        is_enough = len(named) >= _MIN_SHARE * min(len(given), n_files)
        if named and is_enough and (best is None or len(named) > len(best.recordings)):
            best = NamingTable(table, tuple(named), column)
    return None if best is None else replace(best, has_known_columns=_has_known_columns(table))


def _has_known_columns(table: Path) -> bool:
    """Return True if an import of the table recognizes the columns of paths and species."""
    try:
        TableLayout.of(table, {})
    except FormatError:
        return False
    return True
