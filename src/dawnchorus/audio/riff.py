"""Chunks of WAV files (RIFF, RF64, BW64, Wave64)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

PLACEHOLDERS = (range(0x7FFF_F000, 0x8000_0001), range(0xFFFF_F000, 0x1_0000_0000))
"""Sizes that programs write before they know the size: the maximum of 31 or 32 bits, or slightly less."""

MAX_METADATA_BYTES = 1 << 20

MAX_CHUNKS = 1000
"""Maximum number of chunks that are read; a damaged file could have millions."""

_IN_DS64 = 0xFFFFFFFF
"""Size in an RF64 file that stands for the size in its ds64 chunk."""

_NEVER = 1 << 48
"""Minimum 64-bit size that counts as a placeholder."""

_WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_WAVE64_HEADER = 24


@dataclass(frozen=True)
class Chunk:
    """A chunk of a RIFF file."""

    name: bytes
    """Name of four bytes, such as `b"data"`."""
    start: int
    """Offset of the chunk's content in the file, in bytes."""
    size: int
    """Size of the content in bytes, as the chunk's header states it."""


def iter_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the top-level chunks of a WAV file in order, at most `MAX_CHUNKS`; none for other files.

    `file` is at its start. If the size of a chunk was never written, samples are read in place of the next chunk's
    header: iteration ends at a name that is not printable ASCII, without yielding that chunk. It also ends after a
    chunk with a size of 2**48 bytes or more.
    """
    header = file.read(16)
    if header == _WAVE64:
        yield from _iter_wave64_chunks(file)
    elif header[:4] in (b"RIFF", b"RF64", b"BW64") and header[8:12] == b"WAVE":
        yield from _iter_riff_chunks(file)


def _iter_riff_chunks(file: BinaryIO) -> Iterator[Chunk]:
    position, long_data_size = 12, None
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack("<4sI", head)
        if not _is_name(name):
            return
        if name == b"ds64":
            sizes = file.read(16)
            long_data_size = struct.unpack("<8xQ", sizes)[0] if len(sizes) == 16 else None
        if name == b"data" and size == _IN_DS64 and long_data_size is not None:
            size = long_data_size
        yield Chunk(name, position + 8, size)
        if size >= _NEVER:
            return
        position += 8 + size + size % 2


def _iter_wave64_chunks(file: BinaryIO) -> Iterator[Chunk]:
    position = 40
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(_WAVE64_HEADER)
        if len(head) < _WAVE64_HEADER:
            return
        name, size = struct.unpack("<4s12xQ", head)
        if not _is_name(name):
            return
        yield Chunk(name, position + _WAVE64_HEADER, max(size - _WAVE64_HEADER, 0))
        if size < _WAVE64_HEADER or size >= _NEVER:
            return
        position += (size + 7) // 8 * 8


def _is_name(name: bytes) -> bool:
    return name.isascii() and name.decode().isprintable()


def read_chunk(file: BinaryIO, chunk: Chunk) -> bytes:
    """Read the content of a metadata chunk, at most the first `MAX_METADATA_BYTES` of it."""
    file.seek(chunk.start)
    return file.read(min(chunk.size, MAX_METADATA_BYTES))


def is_placeholder(size: int) -> bool:
    """Return True for a size that recorders write before the length is known.

    These are 0, the maximum of 31 or 32 bits or up to 4 KiB less (`PLACEHOLDERS`), and 64-bit sizes from 2**48 on.
    """
    return size == 0 or size >= _NEVER or any(size in sizes for sizes in PLACEHOLDERS)


def missing_data_bytes(path: Path) -> int:
    """Return by how many bytes the samples of a WAV file, as its header states them, exceed the file; 0 if they do not.

    libsndfile reads a truncated WAV without an error, so this is the only check. Other formats, and a placeholder in
    place of the length, give 0.
    """
    with path.open("rb") as file:
        for chunk in iter_chunks(file):
            if chunk.name == b"data":
                missing = max(chunk.start + chunk.size - path.stat().st_size, 0)
                return 0 if is_placeholder(chunk.size) else missing
    return 0
