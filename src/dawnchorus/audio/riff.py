"""The chunks of a RIFF/WAVE file: what recorders write beside the samples."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_STREAMED_SIZES = {0, 0xFFFFFFFF}
"""Chunk sizes that mean "unknown": written by programs that stream, and by RF64."""

MAX_METADATA_BYTES = 1 << 20

MAX_CHUNKS = 1000
"""More headers than any recorder writes; a damaged file could have millions."""


@dataclass(frozen=True)
class Chunk:
    """One chunk: its four-byte name, where its content starts, and how long its header says it is."""

    name: bytes
    start: int
    size: int


def iter_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The top-level chunks of a RIFF/WAVE file, in order; nothing for any other file.

    They end at a name that is no name: what follows a size that was never written is samples, not headers.
    """
    header = file.read(12)
    if header[:4] != b"RIFF" or header[8:] != b"WAVE":
        return
    position = 12
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack("<4sI", head)
        if not (name.isascii() and name.decode().isprintable()):
            return
        yield Chunk(name, position + 8, size)
        position += 8 + size + size % 2


def read_chunk(file: BinaryIO, chunk: Chunk) -> bytes:
    """The content of a metadata chunk, at most `MAX_METADATA_BYTES` of it."""
    file.seek(chunk.start)
    return file.read(min(chunk.size, MAX_METADATA_BYTES))


def missing_data_bytes(path: Path) -> int:
    """How many bytes of samples a WAV header promises beyond the end of the file; 0 for other formats.

    libsndfile reads a WAV that was cut short without a word, so this is the only sign.
    """
    with path.open("rb") as file:
        for chunk in iter_chunks(file):
            if chunk.name == b"data":
                if chunk.size in _STREAMED_SIZES:
                    return 0
                return max(chunk.start + chunk.size - path.stat().st_size, 0)
    return 0
