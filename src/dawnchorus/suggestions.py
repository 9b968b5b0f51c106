"""Suggestions of known names for unknown ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILARITY = 0.6
"""Minimum similarity of a known name to the unknown name that it is suggested for (ratio of `difflib`, 0 to 1)."""


def is_misspelled(name: str, known: str) -> bool:
    """Return True if `name`, which is similar to the known name `known`, may be a misspelling of it.

    False if `name` contains `known` and more than one further letter: it is then another word, such as `subspecies`
    for `species`. Similarity is not checked here; see `nearest`.
    """
    return known not in name or len(name) - len(known) <= 1


def nearest(name: str, known: Iterable[str], *, n: int = 1, cutoff: float = SIMILARITY) -> list[str]:
    """Return at most `n` known names that are similar to `name`, ignoring case, the most similar name first.

    Args:
        name: unknown name.
        known: known names; of names that differ only in case, the first is returned.
        n: maximum number of names to return.
        cutoff: minimum similarity of a returned name, 0 to 1 (ratio of `difflib`).
    """
    by_folded_name: dict[str, str] = {}
    for each in known:
        by_folded_name.setdefault(each.casefold(), each)
    return [by_folded_name[near] for near in difflib.get_close_matches(name.casefold(), by_folded_name, n, cutoff)]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` with the most similar known name, or "" if no known name is similar."""
    near = nearest(name, known)
    return f" Did you mean '{near[0]}'?" if near else ""
