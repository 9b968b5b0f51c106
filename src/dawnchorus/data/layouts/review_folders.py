"""Parsing of folder names that are the outcome of a review of the clips inside: `positive`, `negative`, ..."""

from __future__ import annotations

from collections.abc import Sequence

from dawnchorus.taxonomy.reviews import Review, parse_review

_PAIRS: tuple[dict[str, Review], ...] = tuple(
    {present: "present", absent: "absent"}
    for present, absent in (
        *(("1", "0"), ("yes", "no"), ("y", "n"), ("ja", "nein"), ("oui", "non"), ("si", "no"), ("s\u00ed", "no")),
        *(("sim", "n\u00e3o"), ("ja", "nee"), ("good", "bad"), ("ok", "bad")),
    )
)
"""Pairs of sibling folder names that are review outcomes only together; alone they may be sites or numbers."""


def parse_folder_review(name: str, siblings: frozenset[str] = frozenset()) -> Review | None:
    """Parse a folder name as the outcome of a review: "present", "absent" or "undecided"; None for other names.

    Case is ignored. Words such as `positive`, `false_positive` and `unsure` are outcomes by themselves, see
    `dawnchorus.taxonomy.reviews.parse_review`. Short words such as `yes` and `no`, `1` and `0`, or `good` and `bad` are
    "present" and "absent" only if the counterpart is among the `siblings`, the names of the folders in the same parent
    folder; else they are no outcome, but `bad` is "undecided".
    """
    folded = {sibling.strip().casefold() for sibling in siblings}
    pair = next((pair for pair in _PAIRS if name.strip().casefold() in pair and folded >= set(pair)), {})
    return pair.get(name.strip().casefold()) or parse_review(name)


def find_folder_review(folders: Sequence[str]) -> tuple[str, Review] | None:
    """Return (name, outcome) of the innermost folder that is a review outcome; None if there is none.

    `folders` are the names of nested folders, the outermost first. Names that need a counterpart, such as `yes`, do not
    count.
    """
    return next(((name, review) for name in reversed(folders) if (review := parse_folder_review(name))), None)
