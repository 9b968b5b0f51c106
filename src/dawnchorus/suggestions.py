"""Suggestions of known names for unknown ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILARITY = 0.6
"""Smallest ratio (difflib's) of a known name to one that it is suggested for."""


def is_misspelled(name: str, known: str) -> bool:
    """Return False for a known name with more than one letter added (`subspecies`), True for other typos."""
    return known not in name or len(name) - len(known) <= 1


def nearest(name: str, known: Iterable[str], *, n: int = 1, cutoff: float = SIMILARITY) -> list[str]:
    """Return at most `n` known names most similar to `name`, ignoring case."""
    by_folded_name: dict[str, str] = {}
    for each in known:
        by_folded_name.setdefault(each.casefold(), each)
    return [by_folded_name[near] for near in difflib.get_close_matches(name.casefold(), by_folded_name, n, cutoff)]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the most similar known name, or ""."""
    near = nearest(name, known)
    return f" Did you mean '{near[0]}'?" if near else ""
