"""Licences of recordings: from the addresses and words that sources give to SPDX identifiers, and what they allow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ADDRESS = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/(\d\.\d)", re.IGNORECASE)
_WORDS = re.compile(r"\bCC[ -](BY(?:-NC)?(?:-SA|-ND)?)(?:[ -](\d\.\d))?(?![\w-])", re.IGNORECASE)
_ZERO = re.compile(r"\bCC[ -]?0\b|public domain dedication", re.IGNORECASE)

DEFAULT_ALLOWED = ("CC0", "CC-PDM", "CC-BY", "CC-BY-SA", "CC-BY-NC", "CC-BY-NC-SA")
"""Licences that allow cutting and training: no ND among them, because a clip is a derivative."""


def spdx_of(text: str | None) -> str | None:
    """The SPDX identifier of a Creative Commons licence, from its address, its identifier or its usual short name.

    None for an empty text; the text itself where it names no licence that we know.
    """
    if text is None or not text.strip():
        return None
    address = _ADDRESS.search(text)
    if address:
        kind, name, version = (part.lower() for part in address.groups())
        if kind == "publicdomain":
            return f"CC0-{version}" if name == "zero" else f"CC-PDM-{version}"
        return f"CC-{name.upper()}-{version}"
    words = _WORDS.search(text.replace("_", "-"))
    if words:
        name, version = words.groups()
        return f"CC-{name.upper()}-{version or '4.0'}"
    return "CC0-1.0" if _ZERO.search(text) else text.strip()


def is_allowed(spdx: str | None, allowed: Sequence[str]) -> bool:
    """Whether the licence is one of `allowed`, which may leave versions out; no licence is never allowed."""
    if spdx is None:
        return False
    without_version = re.sub(r"-\d\.\d$", "", spdx)
    return spdx in allowed or without_version in allowed


def address_of(spdx: str) -> str | None:
    """The address of a Creative Commons licence's deed."""
    match = re.fullmatch(r"CC-(BY[A-Z-]*)-(\d\.\d)", spdx)
    if match:
        return f"https://creativecommons.org/licenses/{match[1].lower()}/{match[2]}/"
    return "https://creativecommons.org/publicdomain/zero/1.0/" if spdx == "CC0-1.0" else None


STRICTEST = ("CC-BY-NC-ND", "CC-BY-NC-SA", "CC-BY-NC", "CC-BY-SA", "CC-BY", "CC0")
"""Families of licences, the strictest first."""


def strictest(licenses: Iterable[str | None]) -> str:
    """The licence that weights made from all of these must have at least.

    What is not known, or not a Creative Commons licence, is named as such.
    """
    known = [name or "unknown" for name in licenses]
    for family in STRICTEST:
        found = sorted({name for name in known if name.upper().startswith(family)})
        if found:
            return found[-1]
    others = sorted(set(known) - {"unknown"})
    return others[0] if len(others) == 1 else "unknown"
