"""Pages of Ogg files, and detection of truncated files: the format (RFC 3533) marks the last page of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"OggS"
_FIRST_PAGE, _LAST_PAGE = 0x02, 0x04
_PAGE_HEADER = 27
_MAX_PAGE = 65_307


@dataclass(frozen=True)
class OggPage:
    """Header of an Ogg page."""

    start: int
    """Offset in the file in bytes."""
    n_bytes: int
    """Size of the page in bytes, with its header."""
    serial: int
    """Serial number of the stream that the page belongs to."""
    is_first: bool
    """True for the first page of its stream."""
    is_last: bool
    """True for a page that is marked as the last of its stream."""


def iter_pages(file: BinaryIO, *, start: int = 0) -> Iterator[OggPage]:
    """Yield the pages from byte `start` up to bytes that are not a page; the last one may end after the file's end."""
    while True:
        file.seek(start)
        header = file.read(_PAGE_HEADER + 255)
        n_segments = header[26] if len(header) >= _PAGE_HEADER else 0
        lengths = header[_PAGE_HEADER : _PAGE_HEADER + n_segments]
        if header[:4] != _MAGIC or len(header) < _PAGE_HEADER or len(lengths) < n_segments:
            return
        n_bytes = _PAGE_HEADER + n_segments + sum(lengths)
        serial = int.from_bytes(header[14:18], "little")
        yield OggPage(start, n_bytes, serial, bool(header[5] & _FIRST_PAGE), bool(header[5] & _LAST_PAGE))
        start += n_bytes


def find_last_page(file: BinaryIO) -> OggPage | None:
    """Return the last page; None if it is incomplete, or the file has no pages."""
    size = file.seek(0, 2)
    first = max(size - _MAX_PAGE - _PAGE_HEADER, 0)
    file.seek(first)
    at = file.read().rfind(_MAGIC)
    page = None if at < 0 else next(iter_pages(file, start=first + at), None)
    if at < 0:  # other bytes may follow the pages
        *_others, page = [None, *iter_pages(file)]
    return page if page is not None and page.start + page.n_bytes <= size else None


def is_cut_off(path: Path) -> bool:
    """Return True for an Ogg file whose last page is incomplete or not marked as the last of its stream.

    False for other Ogg files, and for files of other formats.
    """
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            return False
        page = find_last_page(file)
    return page is None or not page.is_last
