"""Search for recordings at xeno-canto (https://xeno-canto.org/explore/api, version 3)."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from dawnchorus.data.licenses import is_allowed, parse_license
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import DownloadError, InputError
from dawnchorus.storage.http_client import HttpClient
from dawnchorus.tables import CoordinateColumns, DateColumn, Notes, TimeColumn, is_blank
from dawnchorus.tables.notes import counted
from dawnchorus.taxonomy.labels import is_indeterminate, is_unnamed, split_labels

LOG = logging.getLogger(__name__)

SERVER = "https://xeno-canto.org"
KEY_VARIABLES = ("XENO_CANTO_API_KEY", "XCKEY")
PER_PAGE = 500
PER_S = 4.0
"""Requests per second: moderate, as the site's terms ask (Perch uses 8)."""

PER_S_OF_MIRROR = 1000.0

MAX_READINGS = 4
"""Maximum number of times that all pages of a result are read, since it may change during reading."""

_N_SHOWN = 120
"""Maximum number of characters of a reply in error messages."""

BYTES_PER_S = 24_000
"""Approximate bytes per second of audio in xeno-canto's MP3 files, to estimate sizes."""

_TAGGED = re.compile(r'[a-z]+:(?:"[^"]*"|\S+)')
_QUALITIES = tuple("ABCDE")
_NO_GRADE = "no score"
_HOW_TO_GET_A_KEY = (
    "xeno-canto has required a key since October 2025: create an account at https://xeno-canto.org, verify your "
    f"e-mail address, copy the key from your account page, and set it: export {KEY_VARIABLES[0]}=..."
)


def key_from_environment() -> str:
    """Return the API key of xeno-canto from $XENO_CANTO_API_KEY, or else from $XCKEY.

    Raises:
        InputError: neither is set, or they are empty; the message explains how to get a key.
    """
    key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
    if key is None:
        raise InputError(f"{' or '.join(KEY_VARIABLES)} is not set. {_HOW_TO_GET_A_KEY}")
    return key


def check_query(query: str) -> str:
    """Check that a query consists of tags (`gen:Parus cnt:Spain`), as the API requires; return it without outer spaces.

    Raises:
        InputError: the query is empty or has free text, which version 3 of the API rejects.
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
class SearchResult:
    """A recording in a search result."""

    row: RecordingRow
    """The recording's row, as the archive lists it; `duration_s` is the listed length."""
    file_url: str
    """URL for the download; "" if the archive restricts it."""
    file_name: str
    """Name of the file in the subfolder `audio` of a data set's folder."""


@dataclass(frozen=True, kw_only=True)
class FetchFilter:
    """Filter of recordings to download; None means no limit.

    Attributes:
        licenses: allowed licenses as SPDX identifiers, with or without version (see `licenses.is_allowed`); recordings
            of unknown license are not allowed.
        per_species: maximum number of recordings per species.
        limit: maximum number of recordings.
        max_length_s: maximum length of a recording in seconds.
    """

    licenses: Sequence[str]
    per_species: int | None = None
    limit: int | None = None
    max_length_s: float | None = None

    def choose(self, results: Iterable[SearchResult]) -> tuple[list[SearchResult], Counter[str]]:
        """Return the selected recordings, and the number of the others by reason (text for messages).

        Selected recordings are ordered by scientific name, then quality from A to E (recordings without a grade come
        between B and C), then xeno-canto's number. In this order, `per_species` keeps the first ones of each species,
        and then `limit` the first ones in all. Recordings whose file the archive restricts are left out; those of
        unknown length pass `max_length_s`.
        """
        left_out: Counter[str] = Counter()
        fitting = []
        for result in results:
            reason = self._unfit(result)
            if reason:
                left_out[reason] += 1
            else:
                fitting.append(result)
        fitting.sort(key=lambda f: (f.row.scientific_name or "", _grade(f.row.quality), int(f.row.recording_id[2:])))
        chosen: list[SearchResult] = []
        per_species: Counter[str | None] = Counter()
        for result in fitting:
            if self.per_species is not None and per_species[result.row.scientific_name] >= self.per_species:
                left_out["more than wanted of the species"] += 1
                continue
            per_species[result.row.scientific_name] += 1
            chosen.append(result)
        if self.limit is not None and len(chosen) > self.limit:
            left_out["more than wanted"] += len(chosen) - self.limit
            chosen = chosen[: self.limit]
        return chosen, left_out

    def _unfit(self, result: SearchResult) -> str | None:
        row = result.row
        if not result.file_url:
            return "no sound (restricted species)"
        if not is_allowed(row.license, self.licenses):
            return f"license {row.license or 'not given'}"
        if self.max_length_s is not None and (row.duration_s or 0) > self.max_length_s:
            return "too long"
        return None


def search(
    web: HttpClient,
    query: str,
    *,
    key: str,
    server: str = SERVER,
    per_page: int = PER_PAGE,
) -> list[SearchResult]:
    """Return all recordings that match a query, without duplicates, in the order of xeno-canto's numbers.

    If recordings are added or removed while pages are read, other recordings move between pages. Therefore, unless the
    number of recordings on all pages is the total that each page states, all pages are read again, until two successive
    readings are equal, or `MAX_READINGS` (4) times in all. The recordings of all readings are then returned, and the
    uncertainty is logged. Recordings listed under several species, and values left out are logged, too.

    Args:
        web: the HTTP client.
        query: tags as in `gen:Parus cnt:Spain`, see `check_query`.
        key: the API key.
        server: base URL of the server.
        per_page: number of recordings per page.

    Raises:
        DownloadError: the server rejected the key (the message explains how to get one), sent no search result, or
            could not be reached.
    """
    seen: dict[str, Mapping[str, Any]] = {}
    species: dict[str, set[str]] = {}
    before: tuple[set[int], set[str]] | None = None
    for _ in range(MAX_READINGS):
        results: dict[str, Mapping[str, Any]] = {}
        unnumbered: list[Mapping[str, Any]] = []
        promised = set()
        for page in _pages(web, query, key=key, server=server, per_page=per_page):
            promised.add(page.n_recordings)
            unnumbered += page.unnumbered
            for fields in page.recordings:
                name = f"XC{fields['id']}"
                results[name] = fields
                species.setdefault(name, set()).add(_species_name(fields) or "unknown")
        seen |= results
        if promised == {len(results) + len(unnumbered)}:
            return _parse_listing(results, unnumbered, species)
        if before == (promised, set(results)):  # it is not changing: its numbers are wrong
            break
        before = promised, set(results)
    numbers = " and ".join(map(str, sorted(promised)))
    LOG.info(
        f"the listing is uncertain: its pages promised {numbers} recordings, the last reading had {len(results)}, all "
        f"readings {len(seen)}. Some may be missing or gone; run the same command again later."
    )
    return _parse_listing(seen, unnumbered, species)


def _parse_listing(
    recordings: Mapping[str, Mapping[str, Any]],
    unnumbered: Sequence[Mapping[str, Any]],
    species: Mapping[str, Set[str]],
) -> list[SearchResult]:
    """Return the recordings in the order of their numbers, and log contradictions and values left out."""
    _note_contradictions(species, recordings)
    notes = Notes()
    for fields in unnumbered:
        notes.leave_out("a recording without a number of digits", str(fields.get("id"))[:_N_SHOWN])
    results = parse_recordings([recordings[name] for name in sorted(recordings, key=lambda name: int(name[2:]))], notes)
    for sentence in notes.sentences():
        LOG.info(f"the listing: {sentence}")
    return results


def _note_contradictions(species: Mapping[str, Set[str]], results: Mapping[str, Mapping[str, Any]]) -> None:
    """Log the recordings that are listed under several species."""
    several = sorted(name for name, names in species.items() if len(names) > 1)
    if several:
        first = several[0]
        names = ", ".join(sorted(species[first]))
        LOG.info(
            f"listed under several species: {counted(len(several), 'recording')} (as {first}: {names}; "
            f"{_species_name(results[first]) or 'unknown'} is taken). Look at their pages."
        )


def find_recording(web: HttpClient, recording_id: str, *, key: str, server: str = SERVER) -> SearchResult | None:
    """Request a recording by its identifier (`XC123`); return None if xeno-canto does not list it.

    Args:
        web: the HTTP client.
        recording_id: the identifier.
        key: the API key.
        server: base URL of the server.

    Raises:
        DownloadError: the server rejected the key, sent no search result, or could not be reached.
    """
    results = search(web, f"nr:{recording_id.removeprefix('XC')}", key=key, server=server)
    return next((result for result in results if result.row.recording_id == recording_id), None)


@dataclass(frozen=True)
class _Page:
    """One page of a search result."""

    n_recordings: int
    """Total number of recordings on all pages, as this page states it."""
    n_pages: int
    recordings: tuple[Mapping[str, Any], ...]
    unnumbered: tuple[Mapping[str, Any], ...]


def _pages(web: HttpClient, query: str, *, key: str, server: str, per_page: int) -> Iterator[_Page]:
    number, n_pages = 1, 1
    while number <= n_pages:
        parameters = urllib.parse.urlencode({"query": query, "key": key, "page": number, "per_page": per_page})
        try:
            content = web.read(f"{server}/api/3/recordings?{parameters}")
        except DownloadError as error:
            if error.status in (401, 403):
                raise DownloadError(f"xeno-canto rejected the key. {_HOW_TO_GET_A_KEY}", error.status) from None
            raise
        try:
            page = _read_page(content, number)
        except ValueError as error:
            excerpt = " ".join(content[:_N_SHOWN].decode("utf-8", "replace").split()).replace(key, "***")
            raise DownloadError(f"{server}, page {number} of {query!r}: {error}. It sent: {excerpt}", None) from None
        yield page
        n_pages = page.n_pages if page.recordings else 0
        number += 1


def _read_page(content: bytes, number: int) -> _Page:
    """Parse the reply to the request of page `number`.

    Raises:
        ValueError: the reply is no page of a search result, or another page.
    """
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("expected JSON from its API, found something else") from None
    if not isinstance(reply, dict):
        raise ValueError(f"expected an object, got a {type(reply).__name__}")
    if reply.get("error"):
        raise ValueError(f"the server says error: {str(reply.get('message') or reply['error'])[:_N_SHOWN]}")
    n_recordings, n_pages = (_count(reply, name) for name in ("numRecordings", "numPages"))
    if "page" in reply and _count(reply, "page") != number:
        raise ValueError(f"expected page {number}, got page {reply['page']}")
    recordings = reply.get("recordings")
    if not isinstance(recordings, list):
        raise ValueError("expected a list of recordings")
    recordings = [fields for fields in recordings if fields != {"also": []}]  # as on a page after the last recording
    if n_recordings and not recordings and number == 1:
        raise ValueError(f"expected some of its {n_recordings} recordings, got none")
    if not all(isinstance(fields, dict) for fields in recordings):
        raise ValueError("expected recordings with their numbers")
    numbered = tuple(fields for fields in recordings if re.fullmatch(r"[0-9]+", str(fields.get("id"))))
    if recordings and not numbered:
        raise ValueError(f"expected recordings with their numbers, got {str(recordings[0].get('id'))[:_N_SHOWN]!r}")
    return _Page(n_recordings, n_pages, numbered, tuple(fields for fields in recordings if fields not in numbered))


def _count(reply: Mapping[str, Any], name: str) -> int:
    text = str(reply.get(name)).strip()
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError(f"expected a number as {name}, got {reply.get(name)!r}")
    return int(text)


def parse_recordings(listing: Sequence[Mapping[str, Any]], notes: Notes) -> list[SearchResult]:
    """Parse the recordings of an API reply, in their order; unreadable values are counted in `notes`.

    `listing` has a dict per recording, with xeno-canto's names of fields. The form of dates and times (such as day or
    month first) is inferred from all recordings together. Each recording is returned, with None for unreadable values.
    """
    dates = DateColumn("date", [_text(fields, "date") or "" for fields in listing], notes)
    times = TimeColumn("time", [_text(fields, "time") or "" for fields in listing], notes)
    coordinates = CoordinateColumns("lat", "lon", notes)
    return [_parse_recording(fields, dates, times, coordinates, notes) for fields in listing]


def _parse_recording(
    fields: Mapping[str, Any], dates: DateColumn, times: TimeColumn, coordinates: CoordinateColumns, notes: Notes
) -> SearchResult:
    """Parse a recording; the fields' values are strings, often empty or null."""
    text = partial(_text, fields)
    number, species = text("id") or "", _species_name(fields)
    if text("gen") and not text("sp") and not is_unnamed(text("en") or "bird"):
        notes.leave_out("a genus without a species", text("gen") or "")
    file_url = _with_scheme(text("file")) or ""
    suffix = PurePosixPath(text("file-name") or "x.mp3").suffix.lower() or ".mp3"
    latitude, longitude = coordinates.read(text("lat") or "", text("lon") or text("lng") or "")
    date, time = dates.read(text("date") or ""), times.read(text("time") or "")
    row = RecordingRow(
        recording_id=f"XC{number}",
        path=f"audio/XC{number}{suffix}",
        scientific_name=species,
        common_name=text("en") if species else None,
        kind="soundscape" if "soundscape" in (text("en") or "").casefold() or text("gen") == "Sonus" else "focal",
        secondary=_read_background(fields.get("also"), notes),
        source="xeno-canto",
        url=_with_scheme(text("url")) or f"https://xeno-canto.org/{number}",
        recordist=text("rec"),
        license=parse_license(_with_scheme(text("lic"))),
        latitude=latitude,
        longitude=longitude,
        locality=text("loc"),
        country=text("cnt"),
        date=None if date is None else date.date,
        time=None if time is None else f"{time:%H:%M}",
        quality=_read_quality(text("q"), notes),
        sound_type=text("type"),
        duration_s=_read_length(text("length"), notes),
        rate_hz=int(_number(text("smp")) or 0) or None,
    )
    return SearchResult(row, file_url, f"XC{number}{suffix}")


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return str(value).strip() or None if value is not None else None


def _species_name(fields: Mapping[str, Any]) -> str | None:
    """Return the scientific name; None if genus or species is missing, or it is no certain species."""
    genus, species = _text(fields, "gen"), _text(fields, "sp")
    name = f"{genus} {species}".capitalize()
    is_named = genus and species and _is_species(name) and not is_unnamed(_text(fields, "en") or "bird")
    return name if is_named else None


def _read_background(also: object, notes: Notes) -> tuple[str, ...]:
    """Parse the background species, a list or one text with separators."""
    names = [str(name).strip() for name in also if name] if isinstance(also, list) else split_labels(str(also or ""))
    names = [name for name in names if name]
    for name in names:
        if not _is_species(name):
            notes.leave_out("also: a name of no one species", name)
    return tuple(name for name in names if _is_species(name))


def _read_quality(text: str | None, notes: Notes) -> str | None:
    """Parse the quality grade A to E; None without a grade, and for invalid ones, which are counted."""
    if text is None or text in _QUALITIES:
        return text
    if not is_blank(text) and text != _NO_GRADE:
        notes.misread("q", text, expected=f"a grade from {_QUALITIES[0]} to {_QUALITIES[-1]}")
    return None


def _read_length(text: str | None, notes: Notes) -> float | None:
    """Parse a length `m:ss` to seconds; None if it is missing, or invalid, which is counted."""
    length_s = _length_s(text)
    if length_s is None and not is_blank(text or ""):
        notes.misread("length", text or "", expected="minutes and seconds such as 1:02")
    return length_s


def _is_species(name: str) -> bool:
    """Return True if the name is of one certain species."""
    return not is_unnamed(name) and not is_indeterminate(name)


def _with_scheme(url: str | None) -> str | None:
    return f"https:{url}" if url is not None and url.startswith("//") else url


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _length_s(text: str | None) -> float | None:
    """Parse `m:ss` or `h:mm:ss` to seconds; None for other texts."""
    parts = [_number(part) for part in (text or "").split(":")]
    if not parts or None in parts:
        return None
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + (part or 0.0)
    return seconds


def _grade(quality: str | None) -> int:
    """Return the sort key of a grade: A first, recordings without a grade after B."""
    return 2 * _QUALITIES.index(quality) if quality in _QUALITIES else 3
