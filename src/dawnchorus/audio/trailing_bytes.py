"""Detection of bytes after the audio in a file: an appended file, or junk."""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dawnchorus.audio.ogg import find_last_page, iter_pages
from dawnchorus.audio.riff import is_placeholder, iter_chunks
from dawnchorus.storage.paths import RemotePath

MIN_UNKNOWN_BYTES = 1 << 17
"""Minimum number of unknown bytes to report; fewer are tags, or the rest of a memory card's cluster."""

_WAV, _AIFF, _AU, _CAF = (b"RIFF", b"RF64", b"BW64"), b"FORM", b".snd", b"caff"
_NAMES = {**dict.fromkeys(_WAV, "WAV"), _AIFF: "AIFF", _AU: "AU", _CAF: "CAF", b"fLaC": "FLAC", b"OggS": "Ogg"}
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_FLAC_START_BYTES = 7
"""Length of the pattern less 1."""

_SEARCH_BYTES = 1 << 20
_READ_AHEAD_BYTES = 1 << 19
"""Upper bound of the bytes that the reader of an object and the decoder read ahead of what is decoded."""

_MP4_TYPE = b"ftyp"
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")
"""First bytes of tags after the audio of an MP3."""

_MP3_HEAD_BYTES = 1 << 12
_MP3_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_XING = re.compile(rb"Xing|Info")
_XING_COUNTS = 3
"""Flags for the presence of a number of frames, at which libsndfile stops, and a number of bytes."""
_MAX_BOXES = 10_000


@dataclass(frozen=True)
class TrailingBytes:
    """Bytes after the end of a file's audio."""

    start: int
    """Offset in the file in bytes."""
    n_bytes: int
    """Number of bytes up to the end of the file."""
    container: str | None
    """Kind of the file that these bytes start with; None if unknown.

    Kinds are "WAV", "AIFF", "AU", "CAF", "FLAC", "Ogg", "MP3" and "MP4".
    """

    @property
    def warning(self) -> str:
        """Message for the user."""
        return f"rest of the file: {self.description}"

    @property
    def description(self) -> str:
        """Number and kind of the bytes, and advice, in words."""
        content = "of no known kind" if self.container is None else f"with another {self.container} file"
        advice = "" if self.container is None else f": cut the file at byte {self.start} into two"
        return f"{self.n_bytes} bytes {content} follow the sound and are not read{advice}"


def find_trailing_bytes(path: Path) -> TrailingBytes | None:
    """Find bytes after the end of the audio; None if there are none worth a message, or the end is not known.

    Tags of an MP3 are not worth a message, nor are fewer than `MIN_UNKNOWN_BYTES` bytes of an unknown kind. The end of
    a FLAC is not in its header: use `find_second_flac`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(12)
        file.seek(0)
        if magic[:4] in _WAV:
            end = _find_wav_end(file)
        elif magic[:4] == _AIFF:
            end = _find_aiff_end(magic)
        elif magic[:4] == _AU:
            end = _find_au_end(file)
        elif magic[:4] == _CAF:
            end = _find_caf_end(file, size)
        elif magic[:4] == b"OggS":
            end = _find_ogg_end(file, size)
        elif magic[4:8] == _MP4_TYPE:
            end = _find_mp4_end(file, size)
        else:
            end = _find_mp3_end(file)
        return None if end is None else _find_after(file, end, size)


def find_second_flac(path: Path) -> TrailingBytes | None:
    """Find a second FLAC stream in a FLAC file; None if there is none.

    A file on a disk is read as a whole; of a file in a store, only what follows the bytes that its decoder has read
    through the object `path`.
    """
    size = path.stat().st_size
    if isinstance(path, RemotePath):
        return _find_second_remote_flac(path, size)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        match = _FLAC_START.search(content, 4) if content[:4] == b"fLaC" else None
        return None if match is None else TrailingBytes(match.start(), size - match.start(), "FLAC")


def _find_second_remote_flac(path: RemotePath, size: int) -> TrailingBytes | None:
    """Find a second FLAC stream after the decoded bytes, since the decoder stops at the end of the first stream."""
    start = max(path.content.n_read - _READ_AHEAD_BYTES, 4)
    with path.open("rb") as file:
        if file.read(4) != b"fLaC":
            return None
        file.seek(start)
        before = b""
        while block := file.read(_SEARCH_BYTES):
            content = before + block
            match = _FLAC_START.search(content)
            if match is not None:
                at = start - len(before) + match.start()
                return TrailingBytes(at, size - at, "FLAC")
            start += len(block)
            before = content[-_FLAC_START_BYTES:]
    return None


def _find_after(file: BinaryIO, end: int, size: int) -> TrailingBytes | None:
    if not 0 < end < size:
        return None
    file.seek(end)
    start = file.read(_MP3_HEAD_BYTES)
    container = _find_container(start)
    is_small = container is None and size - end < MIN_UNKNOWN_BYTES
    return None if is_small or start.startswith(_TAGS) else TrailingBytes(end, size - end, container)


def _find_container(start: bytes) -> str | None:
    """Return the kind of file that starts with these bytes; None if unknown."""
    if start[4:8] == _MP4_TYPE:
        return "MP4"
    is_mp3 = start[:3] == b"ID3" or (_MP3_SYNC.match(start) and _XING.search(start))
    return "MP3" if is_mp3 else _NAMES.get(start[:4])


def _find_wav_end(file: BinaryIO) -> int | None:
    """Return the offset after the last chunk, or after the last one before another file.

    None if there is no chunk, or the data chunk has no length.
    """
    end = None
    size = file.seek(0, 2)
    file.seek(0)
    for chunk in iter_chunks(file):
        is_beyond = chunk.start + chunk.size > size
        if chunk.name == b"data" and (is_beyond or is_placeholder(chunk.size)):
            return None
        if is_beyond or chunk.name in _NAMES:
            return end
        end = chunk.start + chunk.size + chunk.size % 2
    return end


def _find_aiff_end(header: bytes) -> int | None:
    n_bytes = int.from_bytes(header[4:8], "big")
    return None if is_placeholder(n_bytes) else 8 + n_bytes + n_bytes % 2


def _find_au_end(file: BinaryIO) -> int | None:
    start, n_bytes = struct.unpack(">II", file.read(12)[4:].ljust(8, b"\0"))
    return None if is_placeholder(n_bytes) else int(start + n_bytes)


def _find_caf_end(file: BinaryIO, size: int) -> int | None:
    """Return the offset after the last chunk; None if the length of the samples was never written."""
    position = 8
    while position + 12 <= size:
        file.seek(position)
        name, n_bytes = struct.unpack(">4sq", file.read(12))
        if name[:4] == _CAF or not name.isalnum():
            return position
        if n_bytes < 0:
            return None
        position += 12 + n_bytes
    return position


def _find_mp4_end(file: BinaryIO, size: int) -> int | None:
    """Return the offset after the last box, or after the last one before another file; None if a box is invalid."""
    position = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        head = file.read(16)
        n_bytes, name = int.from_bytes(head[:4], "big"), head[4:8]
        if n_bytes == 1:
            n_bytes = int.from_bytes(head[8:16], "big")
        if position and (name == _MP4_TYPE or not name.isalnum()):
            return position
        if n_bytes < 8 or position + n_bytes > size:
            return None
        position += n_bytes
    return None


def _find_ogg_end(file: BinaryIO, size: int) -> int | None:
    """Return the offset after the first streams, or None if nothing follows them.

    They end when all are complete, or when new streams begin.
    """
    first, last = next(iter_pages(file), None), find_last_page(file)
    is_alone = first is not None and last is not None and last.is_last and last.serial == first.serial
    if is_alone and last is not None and size - last.start - last.n_bytes < MIN_UNKNOWN_BYTES:
        return None
    running: set[int] = set()
    has_sound = False
    for page in iter_pages(file):
        if page.is_first and has_sound:
            return page.start
        has_sound = has_sound or not page.is_first
        running.add(page.serial)
        if page.is_last:
            running.discard(page.serial)
            if not running:
                return page.start + page.n_bytes
    return None


def _find_mp3_end(file: BinaryIO) -> int | None:
    """Return the end of the audio by the number of bytes in an encoder's first frame; None if it has none."""
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum((byte & 127) << 7 * (3 - k) for k, byte in enumerate(head[6:10]))
    file.seek(start)
    frame = file.read(_MP3_HEAD_BYTES)
    xing = _XING.search(frame, 0, 200) if _MP3_SYNC.match(frame) else None
    if xing is None or len(frame) < xing.end() + 12 or frame[xing.end() + 3] & _XING_COUNTS != _XING_COUNTS:
        return None
    n_bytes = int.from_bytes(frame[xing.end() + 8 : xing.end() + 12], "big")
    return start + n_bytes if n_bytes else None
