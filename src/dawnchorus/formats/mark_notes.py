"""Messages about tables of annotations; each message is reported once for all tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_MAX_NAMED = 8
_NUMBER = re.compile(r"[-+\d.,:eE\s]+")


class MarkNotes:
    """Messages about tables of annotations: guesses, such as an encoding, and columns that are not read."""

    def __init__(self) -> None:
        self._tables: dict[str, list[Path]] = {}
        """Tables that each sentence is about."""
        self._unread: dict[str, tuple[str, str]] = {}
        """Example value and row of each column that is not read."""

    def add(self, table: Path, sentence: str) -> None:
        """Add a sentence on the file `table`."""
        self._tables.setdefault(sentence, []).append(table)

    def add_unread(self, table: Path, line: int, column: str, value: str) -> None:
        """Record a column of the file `table` that is not read, with an example value and the value's line number.

        Of several examples for a column name, the first is kept.
        """
        self._unread.setdefault(column, (value, f"{table.name} line {line}"))

    def extend(self, other: MarkNotes) -> None:
        """Add the sentences and columns of another object."""
        for sentence, tables in other._tables.items():
            self._tables.setdefault(sentence, []).extend(tables)
        for column, example in other._unread.items():
            self._unread.setdefault(column, example)

    def sentences(self) -> Iterator[str]:
        """Yield each sentence once, with the first table that it is about and the number of further tables.

        If there are columns that are not read, the last sentence names them.
        """
        for sentence, tables in self._tables.items():
            n_others = len(dict.fromkeys(tables)) - 1
            others = f" and {n_others} other table{'' if n_others == 1 else 's'}" if n_others else ""
            yield f"{tables[0]}{others}: {sentence}"
        if self._unread:
            # Columns of words before those of measurements, which programs add by themselves.
            columns = sorted(self._unread.items(), key=lambda each: _NUMBER.fullmatch(each[1][0]) is not None)
            named = [f"{column} (as '{value}' in {row})" for column, (value, row) in columns[:_MAX_NAMED]]
            more = f" and {len(columns) - _MAX_NAMED} more" if len(columns) > _MAX_NAMED else ""
            yield f"columns of tables of marks that are not read: {', '.join(named)}{more}."
