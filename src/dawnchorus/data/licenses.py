"""Licenses of recordings: parsing of URLs and names to SPDX identifiers, and rules for their use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_DEED_URL = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/(\d\.\d)", re.IGNORECASE)
_SHORT = re.compile(r"\bCC[ -]BY(?P<parts>(?:[ -](?:NC|SA|ND))*)(?:[ -]v?(?P<version>\d\.\d))?(?![\w-])", re.IGNORECASE)
_WORDS = re.compile(r"\bcreative commons\b.*\battribution\b|^attribution(?:[ -](?:non|share|no|\d)|$)", re.IGNORECASE)
_ZERO = re.compile(r"\bCC[ -]?0\b|\bcreative commons zero\b|public domain dedication", re.IGNORECASE)
_PUBLIC_DOMAIN_MARK = re.compile(r"public domain mark", re.IGNORECASE)
_VERSION = re.compile(r"\b(?:v\.? ?)?(\d\.\d)\b", re.IGNORECASE)

_RESTRICTIONS = {
    "NC": re.compile(r"\bNC\b|non[ -]?commercial", re.IGNORECASE),
    "ND": re.compile(r"\bND\b|no[ -]?deriv", re.IGNORECASE),
    "SA": re.compile(r"\bSA\b|share[ -]?alike", re.IGNORECASE),
}
"""Patterns of the texts for each restriction, in the order of the restrictions in an identifier."""

_PERMISSIVE = frozenset(("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc-pdm-1.0", "cc0-1.0"))
"""Licenses, in lower case, without restrictions beyond those of CC-BY."""

DEFAULT_ALLOWED = ("CC0", "CC-PDM", "CC-BY", "CC-BY-SA", "CC-BY-NC", "CC-BY-NC-SA")
"""Licenses that allow training by default. NoDerivatives (ND) is excluded because a clip is a derivative."""


def parse_license(text: str | None) -> str | None:
    """Convert a Creative Commons license's URL, identifier or name to an SPDX identifier such as "CC-BY-NC-4.0".

    Examples of such texts are `https://creativecommons.org/licenses/by-nc/4.0/`, `CC BY-NC 4.0` and `Creative Commons
    Attribution`. Without a version, 4.0 is assumed, and 1.0 for `CC0` and the public domain mark ("CC-PDM-1.0"). Any
    other text is returned as it is, without outer spaces. The result is None for None or a blank text.
    """
    if text is None or not text.strip():
        return None
    url = _DEED_URL.search(text)
    if url:
        return _parse_url(*(part.lower() for part in url.groups()))
    short = _SHORT.search(text.replace("_", "-"))
    if short:
        return _identifier(short["parts"], short["version"])
    return _of_words(text.strip())


def _parse_url(kind: str, name: str, version: str) -> str:
    """Return the identifier of a license by the three parts of its URL: `licenses`, `by-nc`, `4.0`."""
    if kind == "publicdomain":
        return f"CC0-{version}" if name == "zero" else f"CC-PDM-{version}"
    return _identifier(name, version) if name.startswith("by") else f"CC-{name.upper()}-{version}"


def _of_words(text: str) -> str:
    """Return the identifier of a license named in words; other texts unchanged."""
    if _ZERO.search(text):
        return "CC0-1.0"
    if _PUBLIC_DOMAIN_MARK.search(text):
        return "CC-PDM-1.0"
    if _WORDS.search(text):
        version = _VERSION.search(text)
        return _identifier(text, version[1] if version else None)
    return text


def _identifier(restrictions: str, version: str | None) -> str:
    """Return the identifier of the license CC-BY with the restrictions in the text; the version defaults to 4.0."""
    parts = [part for part, pattern in _RESTRICTIONS.items() if pattern.search(restrictions)]
    return "-".join(("CC-BY", *parts, version or "4.0"))


def allows_derivatives(spdx: str | None) -> bool:
    """Return False for a license with `-ND` (NoDerivatives) in its identifier; True for others and None (unknown)."""
    return spdx is None or re.search(r"-ND\b", spdx) is None


def is_allowed(spdx: str | None, allowed: Sequence[str]) -> bool:
    """Return True if the license `spdx`, with or without its version, is in `allowed`; False for None (unknown).

    "CC-BY" in `allowed` thus allows all versions, "CC-BY-4.0" only one; neither allows "CC-BY-NC-4.0". Case counts.
    """
    if spdx is None:
        return False
    without_version = re.sub(r"-\d\.\d$", "", spdx)
    return spdx in allowed or without_version in allowed


def describe_unmatched(allowed: Sequence[str], given: Iterable[str | None]) -> Iterator[str]:
    """Yield one sentence that lists the licenses in `allowed` (the option --license) that no recording has, if any.

    `given` are the licenses of the recordings, None if unknown. If all of them are unknown, nothing is yielded.
    """
    given = sorted(name for name in set(given) if name is not None)
    unmatched = [name for name in allowed if not any(is_allowed(each, [name]) for each in given)]
    if unmatched and given:
        yield f"--license: no recording has {', '.join(unmatched)}; they have {', '.join(given)}."


_PUBLIC_DOMAIN = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-PDM-1.0": "https://creativecommons.org/publicdomain/mark/1.0/",
}


def deed_url(spdx: str) -> str | None:
    """Return the URL of a Creative Commons license by its identifier ("CC-BY-4.0", "CC0-1.0"); None for others."""
    match = re.fullmatch(r"CC-(BY[A-Z-]*)-(\d\.\d)", spdx)
    if match:
        return f"https://creativecommons.org/licenses/{match[1].lower()}/{match[2]}/"
    return _PUBLIC_DOMAIN.get(spdx)


_ATTRIBUTION = re.compile(r"CC-BY(?:-(?:NC|ND|SA))*-(\d\.\d)", re.IGNORECASE)


def strictest(licenses: Iterable[str | None]) -> str:
    """Return the license (SPDX identifier) of weights trained on recordings with these licenses (None: unknown).

    The first of these rules that applies decides:

    - No licenses, or only unknown ones: "unknown". All licenses are the same: this license.
    - All are permissive (CC0, MIT, Apache-2.0, ...): one of them, a Creative Commons license if there is one.
    - One is unknown, or neither permissive nor a CC-BY license: "unknown".
    - Else: CC-BY in the highest version among the CC-BY licenses, with all their restrictions (NonCommercial,
      NoDerivatives, ShareAlike), but without ShareAlike if it has NoDerivatives.
    """
    names = {name or "unknown" for name in licenses}
    demanding = sorted(names - {name for name in names if name.lower() in _PERMISSIVE})
    if len(names) == 1 or not demanding:
        return min(names, key=lambda name: (name.upper().startswith("CC"), name), default="unknown")
    versions = {name: match[1] for name in demanding if (match := _ATTRIBUTION.fullmatch(name))}
    if len(versions) < len(demanding):
        return "unknown"
    restrictions = " ".join(name.replace("-", " ") for name in demanding)
    if "ND" in restrictions.upper():
        restrictions = re.sub(r"\bSA\b", "", restrictions, flags=re.IGNORECASE)
    return _identifier(restrictions, max(versions.values()))
