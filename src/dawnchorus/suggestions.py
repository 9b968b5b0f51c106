"""The nearest known name to one that is not known, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def is_misspelt(name: str, known: str) -> bool:
    """Return False for a known name with more than one letter added, which means something else (`subspecies`)."""
    return known not in name or len(name) - len(known) <= 1


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` with the known name that is most like `name`; nothing where none is like it.

    Names are compared without regard to case.
    """
    by_folded_name: dict[str, str] = {}
    for each in known:
        by_folded_name.setdefault(each.casefold(), each)
    near = difflib.get_close_matches(name.casefold(), list(by_folded_name), n=1)
    return f" Did you mean '{by_folded_name[near[0]]}'?" if near else ""
