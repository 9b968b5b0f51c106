"""Notes on a table that was read: guesses, and values that were left out, for the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class _Misread:
    """Values of one column that were not understood."""

    expected: str
    example: str
    n_rows: int = 0


class Notes:
    """Sentences for the user on a table: guesses that were made, and values that were left out."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}
        self._misread: dict[str, _Misread] = {}
        self._left_out: dict[str, _Misread] = {}

    def add(self, sentence: str) -> None:
        """Add a sentence; a repeated one is dropped."""
        self._sentences.setdefault(sentence)

    def misread(self, column: str, value: str, *, expected: str) -> None:
        """Count a value of a column that could not be read; `expected` describes valid values, such as "a number".

        The column's sentence has the count, and the `value` and `expected` of the first call for the column.
        """
        self._misread.setdefault(column, _Misread(expected, value)).n_rows += 1

    def leave_out(self, description: str, value: str) -> None:
        """Count a readable value that is left out; `description` names the kind of values, and begins its sentence.

        The sentence has the count, and the first `value` of the kind as its example.
        """
        self._left_out.setdefault(description, _Misread("", value)).n_rows += 1

    def n_misread(self, column: str) -> int:
        """Return the number of values of a column that `misread` counted; 0 for a column without any."""
        return self._misread[column].n_rows if column in self._misread else 0

    def sentences(self) -> list[str]:
        """Return the added sentences, then one per column that `misread` counted, then one per kind of `leave_out`."""
        return [
            *self._sentences,
            *(
                f"column '{column}': not understood, and left out, in {counted_rows(each.n_rows)} (as "
                f"'{each.example}'); expected {each.expected}."
                for column, each in self._misread.items()
            ),
            *(
                f"{description}: left out in {counted_rows(each.n_rows)} (as '{each.example}')."
                for description, each in self._left_out.items()
            ),
        ]


def list_columns(values: Mapping[str, str]) -> str:
    """Format example values by column name as a list: `week (as '18'), site (as 'A')`; values are cut to 39 letters."""
    return ", ".join(f"{column} (as {value!r:.40})" for column, value in values.items())


def counted(n: int, noun: str) -> str:
    """Format a count with its noun, which is given in the singular: `1 recording`, `1,200 recordings`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def counted_rows(n: int) -> str:
    """Format a number of rows: `1 row`, `2 rows`, ..."""
    return f"{n} row{'' if n == 1 else 's'}"
