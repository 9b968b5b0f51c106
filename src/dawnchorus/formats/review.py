"""Columns in which people confirm or reject annotations: `Reject`, `Valid`, `Verified`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dawnchorus.tables import Table, headers, is_blank
from dawnchorus.tables.notes import counted_rows
from dawnchorus.taxonomy.reviews import parse_review
from dawnchorus.types import Mark, Review

_YES = frozenset(("yes", "y", "true", "t", "1", "1.0", "x", "✓", "ja", "j", "wahr", "oui", "vrai", "sí", "si", "sim"))
_NO = frozenset(("no", "n", "false", "f", "0", "0.0", "nein", "falsch", "non", "faux", "não", "nao", "nee"))

_VERDICTS: tuple[tuple[Sequence[str], Mapping[bool, Review]], ...] = (
    (headers.REJECT, {True: "rejected"}),
    (headers.VALID, {False: "rejected"}),
    (headers.VERIFIED, {False: "unverified"}),
)
"""Names of review columns, with the outcome of their yes and no; the first column with an outcome decides."""


class ReviewColumns:
    """Columns of a table in which people confirm or reject annotations by yes or no, in any of several languages.

    An annotation with another word in such a column, such as `maybe`, is unverified; the constructor adds a sentence on
    unknown words to the table's notes.

    Args:
        table: the table of annotations, which may have several review columns or none.
    """

    def __init__(self, table: Table) -> None:
        self._verdicts: list[tuple[int, Mapping[bool, Review]]] = []
        for names, verdicts in _VERDICTS:
            index = table.find_column(names)
            if index is None:
                continue
            words = [cell.strip() for cell in table.column(index) if _answer(cell) is not None or not is_blank(cell)]
            if all(_answer(word) is None for word in words):
                continue
            self._verdicts.append((index, verdicts))
            unknown = [word for word in words if _answer(word) is None and parse_review(word) != "undecided"]
            if unknown:
                table.notes.add(
                    f"column '{table.header[index]}': neither yes nor no in {counted_rows(len(unknown))} (as "
                    f"'{unknown[0]}'): these marks are kept as a sound that may be of any species."
                )

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of the review columns in the table, from 0."""
        return tuple(index for index, _ in self._verdicts)

    def judge(self, mark: Mark, fields: Sequence[str]) -> Mark:
        """Return the mark with `Mark.review` set from the review columns of its row.

        `fields` are all cells of the row. The review is "rejected" for a yes in `Reject` or a no in `Valid`, and
        "unverified" for a no in `Verified` or another word than yes and no. Other cells say nothing: without a column
        that rejects or doubts it, the mark is returned unchanged. If several columns do, the first of `Reject`, `Valid`
        and `Verified` counts.
        """
        for index, verdicts in self._verdicts:
            verdict = _verdict(fields[index], verdicts)
            if verdict:
                return replace(mark, review=verdict)
        return mark


def _verdict(text: str, verdicts: Mapping[bool, Review]) -> Review:
    answer = _answer(text)
    if answer is None:
        return "" if is_blank(text) else "unverified"
    return verdicts.get(answer, "")


def _answer(text: str) -> bool | None:
    word = text.strip().casefold()
    return True if word in _YES else False if word in _NO else None
