"""Verdicts of people on marks, in columns of their own: `Reject`, `Valid`, `Verified`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dawnchorus.tables import Table, headers, is_blank
from dawnchorus.types import Mark, Review

_YES = frozenset(("yes", "y", "true", "t", "1", "1.0", "x", "✓", "ja", "j", "wahr", "oui", "vrai", "sí", "si", "sim"))
_NO = frozenset(("no", "n", "false", "f", "0", "0.0", "nein", "falsch", "non", "faux", "não", "nao", "nee"))

_VERDICTS: tuple[tuple[Sequence[str], Mapping[bool, Review]], ...] = (
    (headers.REJECT, {True: "rejected"}),
    (headers.VALID, {False: "rejected"}),
    (headers.VERIFIED, {False: "unverified"}),
)
"""Columns, and what their yes or no says of a mark; the first verdict counts."""


class ReviewColumns:
    """Columns of a table with yes or no in all their filled cells that say which marks are right."""

    def __init__(self, table: Table) -> None:
        self._verdicts: list[tuple[int, Mapping[bool, Review]]] = []
        for names, verdicts in _VERDICTS:
            place = table.find_column(names)
            if place is not None and all(is_blank(cell) or _answer(cell) is not None for cell in table.column(place)):
                self._verdicts.append((place, verdicts))

    @property
    def places(self) -> tuple[int, ...]:
        """Columns that are read."""
        return tuple(place for place, _ in self._verdicts)

    def judge(self, mark: Mark, fields: Sequence[str]) -> Mark:
        """Return a mark with the verdict of its row."""
        for place, verdicts in self._verdicts:
            answer = _answer(fields[place])
            if answer is not None and answer in verdicts:
                return replace(mark, review=verdicts[answer])
        return mark


def _answer(text: str) -> bool | None:
    word = text.strip().casefold()
    return True if word in _YES else False if word in _NO else None
