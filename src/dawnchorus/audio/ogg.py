"""Detection of truncated Ogg files: the format (RFC 3533) marks the last page of a stream."""

from __future__ import annotations

from pathlib import Path

_MAGIC = b"OggS"
_LAST_PAGE = 0x04
_PAGE_HEADER = 27
_MAX_PAGE = 65_307


def is_cut_off(path: Path) -> bool:
    """Return True if the file is Ogg and does not end with a whole page that is marked as the last."""
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            return False
        size = file.seek(0, 2)
        file.seek(max(size - _MAX_PAGE - _PAGE_HEADER, 0))
        tail = file.read()
    start = tail.rfind(_MAGIC)
    page = tail[start:]
    if start < 0 or len(page) < _PAGE_HEADER:
        return True
    n_segments = page[26]
    lengths = page[_PAGE_HEADER : _PAGE_HEADER + n_segments]
    complete = len(lengths) == n_segments and len(page) >= _PAGE_HEADER + n_segments + sum(lengths)
    return not (complete and page[5] & _LAST_PAGE)
