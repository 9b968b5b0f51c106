"""Recordings from xeno-canto, by its API version 3 (https://xeno-canto.org/explore/api)."""

from __future__ import annotations

import json
import math
import os
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from dawnchorus.data.layouts.tables import clock, iso_date
from dawnchorus.data.licenses import is_allowed, spdx_of
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FetchFailed, InputError
from dawnchorus.web import Web

SERVER = "https://xeno-canto.org"
KEY_VARIABLES = ("XENO_CANTO_API_KEY", "XCKEY")
PER_PAGE = 500
PER_S = 4.0
"""Requests in a second; perch asked 8, and the site's terms ask for restraint."""

PER_S_OF_MIRROR = 1000.0

BYTES_PER_S = 24_000
"""About how much a second of an MP3 takes at xeno-canto."""

_TAGGED = re.compile(r'[a-z]+:(?:"[^"]*"|\S+)')
_QUALITIES = "ABCDE"
_HOW_TO_GET_A_KEY = (
    "xeno-canto wants a key since October 2025: make an account at https://xeno-canto.org, verify your e-mail address, "
    f"copy the key from your account page, and set it: export {KEY_VARIABLES[0]}=..."
)


def key_from_environment() -> str:
    """The user's key.

    Raises:
        InputError: there is none; the message says how to get one.
    """
    key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
    if key is None:
        raise InputError(f"{' or '.join(KEY_VARIABLES)} is not set. {_HOW_TO_GET_A_KEY}")
    return key


def check_query(query: str) -> str:
    """The query, if it consists of tags.

    Raises:
        InputError: it has free text, which version 3 refuses.
    """
    rest = _TAGGED.sub("", query).strip()
    if rest or not query.strip():
        words = rest.split()
        hint = f' For a species: gen:{words[0]} sp:{words[1]}, or en:"={rest}".' if len(words) == 2 else ""
        raise InputError(
            f"query: expected tags, as in 'gen:Parus cnt:Spain q:A', found {rest or 'nothing'!r}.{hint} "
            f"All tags: {SERVER}/help/search"
        )
    return query.strip()


@dataclass(frozen=True)
class Found:
    """A recording that a query found, and where its sound is."""

    row: RecordingRow
    file_url: str
    file_name: str


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which of the found recordings to fetch."""

    licenses: Sequence[str]
    per_species: int | None = None
    limit: int | None = None
    max_length_s: float | None = None

    def choose(self, found: Iterable[Found]) -> tuple[list[Found], Counter[str]]:
        """What to fetch, best quality first within a species, and how many were left out for which reason."""
        left_out: Counter[str] = Counter()
        fitting = []
        for item in found:
            reason = self._unfit(item)
            if reason:
                left_out[reason] += 1
            else:
                fitting.append(item)
        fitting.sort(key=lambda f: (f.row.scientific_name or "", _grade(f.row.quality), int(f.row.recording_id[2:])))
        chosen: list[Found] = []
        per_species: Counter[str | None] = Counter()
        for item in fitting:
            if self.per_species is not None and per_species[item.row.scientific_name] >= self.per_species:
                left_out["more than wanted of the species"] += 1
                continue
            per_species[item.row.scientific_name] += 1
            chosen.append(item)
        if self.limit is not None and len(chosen) > self.limit:
            left_out["more than wanted"] += len(chosen) - self.limit
            chosen = chosen[: self.limit]
        return chosen, left_out

    def _unfit(self, item: Found) -> str | None:
        row = item.row
        if not item.file_url:
            return "no sound (restricted species)"
        if not is_allowed(row.license, self.licenses):
            return f"licence {row.license or 'not given'}"
        if self.max_length_s is not None and (row.duration_s or 0) > self.max_length_s:
            return "too long"
        return None


def search(web: Web, query: str, *, key: str, server: str = SERVER) -> list[Found]:
    """Everything that the query finds, each recording once, in the order of their numbers.

    Pages may shift while they are read, because recordings come and go: what a second look at them adds is taken.

    Raises:
        FetchFailed: the server refused (the message says how to get a key) or could not be reached.
    """
    found: dict[str, Found] = {}
    for _ in range(2):
        promised = 0
        for reply in _pages(web, query, key=key, server=server):
            promised = int(reply.get("numRecordings") or 0)
            for fields in reply.get("recordings") or ():
                item = found_of(fields)
                found[item.row.recording_id] = item
        if len(found) >= promised:
            break
    return sorted(found.values(), key=lambda item: int(item.row.recording_id[2:]))


def _pages(web: Web, query: str, *, key: str, server: str) -> Iterator[Mapping[str, Any]]:
    page, n_pages = 1, 1
    while page <= n_pages:
        asked = urllib.parse.urlencode({"query": query, "key": key, "page": page, "per_page": PER_PAGE})
        try:
            reply = json.loads(web.read(f"{server}/api/3/recordings?{asked}"))
        except FetchFailed as error:
            if error.status in (401, 403):
                raise FetchFailed(f"xeno-canto did not take the key. {_HOW_TO_GET_A_KEY}", error.status) from None
            raise
        except ValueError:
            raise FetchFailed(f"{server}: expected JSON from its API, found something else.", None) from None
        n_pages = int(reply.get("numPages") or 1)
        yield reply
        page += 1


def found_of(fields: Mapping[str, Any]) -> Found:
    """A recording from the API's reply, whose values are strings, often empty or null."""

    def text(name: str) -> str | None:
        value = fields.get(name)
        return str(value).strip() or None if value is not None else None

    number = text("id") or ""
    also = fields.get("also")
    names = [part for part in (text("gen"), text("sp")) if part]
    file_url = _with_scheme(text("file")) or ""
    suffix = PurePosixPath(text("file-name") or "x.mp3").suffix.lower() or ".mp3"
    row = RecordingRow(
        recording_id=f"XC{number}",
        path=f"audio/XC{number}{suffix}",
        scientific_name=" ".join(names) or None,
        common_name=text("en"),
        secondary=tuple(
            str(name).strip() for name in (also if isinstance(also, list) else ()) if str(name or "").strip()
        ),
        source="xeno-canto",
        url=_with_scheme(text("url")) or f"https://xeno-canto.org/{number}",
        recordist=text("rec"),
        license=spdx_of(_with_scheme(text("lic"))),
        latitude=_number(text("lat")),
        longitude=_number(text("lon") or text("lng")),
        locality=text("loc"),
        country=text("cnt"),
        date=iso_date(text("date")),
        time=clock(text("time")),
        quality=text("q"),
        sound_type=text("type"),
        duration_s=_length_s(text("length")),
        rate_hz=int(_number(text("smp")) or 0) or None,
    )
    return Found(row, file_url, f"XC{number}{suffix}")


def _with_scheme(address: str | None) -> str | None:
    return f"https:{address}" if address is not None and address.startswith("//") else address


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _length_s(text: str | None) -> float | None:
    """Seconds from `m:ss` or `h:mm:ss`."""
    parts = [_number(part) for part in (text or "").split(":")]
    if not parts or None in parts:
        return None
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + (part or 0.0)
    return seconds


def _grade(quality: str | None) -> int:
    """A first; no grade after B."""
    return 2 * _QUALITIES.index(quality) if quality and quality in _QUALITIES else 3
