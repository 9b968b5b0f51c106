"""Parsing of response headers: times, ranges, versions and encodings."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

import requests

from dawnchorus.storage.partial_files import ContentVersion

_CONTENT_RANGE = re.compile(r"bytes[ =]+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_MIN_AGE_S = 60
"""Minimum age of a Last-Modified time; a younger file may change again within the same second."""


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait from a Retry-After header (number or date); None if it is missing or invalid.

    None as well for a negative number, or a date that is not in the future. A date is compared with the server's Date
    header, or else with this machine's clock.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until = _http_date(text)
        if until is None:
            return None
        seconds = (until - (_http_date(headers.get("Date", "")) or datetime.now(UTC))).total_seconds()
        return seconds if seconds > 0 else None
    return seconds if seconds >= 0 else None


def _http_date(text: str) -> datetime | None:
    """Return the time in a header, UTC if it has no zone; None if it is not a date."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return a strong ETag, or a time of last modification that is old enough (RFC 9110, 8.8.2.2)."""
    etag = headers.get("ETag", "").strip()
    if etag.startswith('"'):
        return etag
    modified, sent = _http_date(headers.get("Last-Modified", "")), _http_date(headers.get("Date", ""))
    is_old = modified is not None and sent is not None and (sent - modified).total_seconds() >= _MIN_AGE_S
    return headers["Last-Modified"].strip() if is_old else None


def parse_content_range(content_range: str) -> tuple[int, int, int | None]:
    """Parse a Content-Range header such as `bytes 0-99/1000` or `bytes 0-99/*`.

    Returns:
        Offset of the first byte, offset of the last byte (inclusive), and total length in bytes (None for `*`);
        (-1, -1, None) for an invalid header.
    """
    match = _CONTENT_RANGE.fullmatch(content_range.strip())
    if match is None:
        return -1, -1, None
    first, last, whole = match.groups()
    return int(first), int(last), None if whole == "*" else int(whole)


def _range_fault(content_range: str, known: ContentVersion | None, n_before: int) -> str | None:
    """Return the reason why a range cannot follow the `n_before` bytes received before; None if it can."""
    first, last, whole = parse_content_range(content_range)
    expected = known.n_bytes if known is not None and n_before else None
    if first != n_before or last < first:
        return f"asked for the bytes from {n_before}, got {content_range!r}"
    if expected is None and whole is None:
        return f"the length of the whole is not given: {content_range!r}"
    if whole is not None and (last >= whole or expected not in (None, whole)):
        return f"expected {whole if expected is None else expected} bytes in all, got {content_range!r}"
    return None


def reply_fault(reply: requests.Response, known: ContentVersion | None, n_before: int) -> str | None:
    """Return the reason why a reply is neither the whole content nor the requested range; None if it is valid.

    A Content-Range header with status 200 is read as a range as well, since some servers send that.

    Args:
        reply: the reply, whose body has not been read yet.
        known: version of the bytes received before, of which the range must be, too; None without such bytes.
        n_before: number of bytes received before, where the requested range starts; 0 if the whole was requested.
    """
    content_range = reply.headers.get("Content-Range")
    if reply.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return f"expected status 200, got {reply.status_code}"
    if content_range is None:
        return "got a part without its range" if reply.status_code == HTTPStatus.PARTIAL_CONTENT else None
    if content_encoding(reply) != "identity":
        return "got a compressed part"
    if n_before and known is not None and _validator(reply.headers) not in (None, known.validator):
        return "the content has changed"
    return _range_fault(content_range, known, n_before)


def reply_version(reply: requests.Response) -> ContentVersion:
    """Return validator and length in bytes of the whole content by a reply's headers; None for what they do not say.

    The validator is a strong ETag, or else a Last-Modified time at least a minute before the Date. Both are None if the
    reply is compressed.
    """
    if content_encoding(reply) != "identity":
        return ContentVersion(None, None)  # its bytes are decompressed: the server knows no offset in them
    content_range = reply.headers.get("Content-Range")
    n_bytes = parse_content_range(content_range)[2] if content_range else reply.raw.length_remaining
    return ContentVersion(_validator(reply.headers), n_bytes)


def content_encoding(reply: requests.Response) -> str:
    """Return the content encoding of a reply in lower case ("gzip" for `x-gzip`); "identity" without the header."""
    encoding = reply.headers.get("Content-Encoding", "").strip().lower() or "identity"
    return encoding.removeprefix("x-")
