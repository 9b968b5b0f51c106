"""Seeking in long MP3 files by an index of frames; libsndfile would decode everything before the position.

A frame here is one of the MP3 format, with 576 or 1,152 samples.
"""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from dawnchorus.arrays import FloatArray

STEP = 16
"""Distance, in frames, between frames whose offsets are stored: 1.7 MB for a day at 44.1 kHz."""

N_BEFORE = 48
"""Number of frames to decode before the first requested frame, whose data may begin in these frames."""

N_SLICE = 256
"""Number of frames decoded at a time."""

MAX_INDEXES = 8
"""Number of indexes in this process's cache."""

_BLOCK_BYTES = 1 << 20
_ID3_BYTES = 10
_HEAD_BYTES = 256
"""Number of bytes of the first frame that are inspected."""

_KBIT = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates in kbit/s by version in the header: 3 is MPEG-1; MPEG-2 and 2.5 share the other list."""

_RATES_HZ = (44_100, 48_000, 32_000)
_RATE_DIVISORS = {3: 1, 2: 2, 0: 4}

_TAG = re.compile(rb"Xing|Info")
_N_TAG_FIELDS = 4
"""Number of optional fields after a tag's flags: number of frames, number of bytes, seek table, quality."""
_TAG_FIELD_BYTES = (4, 4, 100, 4)
_DELAY_AT = 21
"""Offset of the encoder's delay after these fields."""

_DECODER_DELAY = 529
"""Delay of a decoder in samples, which it compensates if a tag has the encoder's delay."""

_SIDE_BYTES = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}
"""Bytes of side information after a frame's header, by (is MPEG-1, is mono)."""

_N_COMPARED = 4
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FrameIndex:
    """Byte offsets of the frames of an MP3 file."""

    starts: array[int]
    """Offset in bytes of each frame whose number (from 0) is a multiple of `STEP`, and of the end of the last frame."""
    n_frames: int
    """Number of frames."""
    frame_samples: int
    """Number of samples per channel in a frame."""
    delay: int
    """Number of samples at the start that are encoder and decoder delay."""
    frame_bytes: dict[bytes, int]
    """Length of a frame in bytes, by the first three bytes of its header."""

    def blocks(self, path: Path, first: int, end: int | None) -> Iterator[FloatArray]:
        """Yield blocks of float32 samples [n, channels] of the file `path`, from sample `first` (from 0) on.

        `end` is the number of the sample after the last one; None for all up to the end of the file. Samples count per
        channel, and without `delay`.

        Raises:
            soundfile.LibsndfileError: the samples cannot be decoded.
        """
        while end is None or first < end:
            block = self._read(path, first)[: None if end is None else end - first]
            if not len(block):
                return
            yield block
            first += len(block)

    def _read(self, path: Path, first: int) -> FloatArray:
        """Return samples [n, channels] of at most `N_SLICE` frames, from sample `first` on.

        Empty after the last one.
        """
        number = (first + self.delay) // self.frame_samples
        k = max(number - N_BEFORE, 0) // STEP
        last = min((number + N_SLICE) // STEP + 1, len(self.starts) - 1)
        n_frames = min(last * STEP, self.n_frames) - k * STEP
        if number >= self.n_frames:
            return np.zeros((0, 1), np.float32)
        with path.open("rb") as file:
            file.seek(self.starts[k])
            content = bytearray(file.read(self.starts[last] - self.starts[k]))
        if k:
            _silence_start(content, self.frame_bytes)
        content += _silent_frames(content, self.frame_bytes, n_frames)
        with soundfile.SoundFile(io.BytesIO(content)) as audio_file:
            samples: FloatArray = audio_file.read(n_frames * self.frame_samples, dtype="float32", always_2d=True)
        return samples[first + self.delay - k * STEP * self.frame_samples :]


def find_frames(path: Path) -> FrameIndex | None:
    """Return the index of an MP3 file; None if seeking by the index would be wrong, or this cannot be checked.

    It cannot be checked if the file is too short or no MP3.

    The `MAX_INDEXES` indexes that were used last are cached.
    """
    status = path.stat()
    return _find_frames(path, status.st_size, status.st_mtime_ns)


@lru_cache(MAX_INDEXES)
def _find_frames(path: Path, _n_bytes: int, _mtime_ns: int) -> FrameIndex | None:
    with path.open("rb") as file:
        start = _skip_tags(file)
        head = file.read(_HEAD_BYTES)
        frames = _frame_bytes(head)
        n_bytes = frames.get(head[:3])
        if n_bytes is None:
            return None
        tag = _TAG.search(head, 0, n_bytes)
        starts, n_frames = _list_frames(file, start + (n_bytes if tag else 0), frames)
    frame_samples = 1152 if _version(head) == 3 else 576
    stated = [] if tag is None else [_read_delay(head[tag.end() :]) + _DECODER_DELAY]
    delays = (*stated, _DECODER_DELAY, 0)
    indexes = (FrameIndex(starts, n_frames, frame_samples, delay, frames) for delay in delays)
    try:
        return next((index for index in indexes if _agrees(path, index)), None)
    except soundfile.LibsndfileError:
        return None


def _skip_tags(file: BinaryIO) -> int:
    """Move the file's position after the ID3 tags at the start, and return it."""
    start = 0
    while True:
        file.seek(start)
        head = file.read(_ID3_BYTES)
        if head[:3] != b"ID3" or len(head) < _ID3_BYTES:
            file.seek(start)
            return start
        start += _ID3_BYTES + sum((byte & 127) << 7 * (3 - k) for k, byte in enumerate(head[6:10]))


def _version(head: bytes | bytearray) -> int:
    return head[1] >> 3 & 3


def _frame_bytes(head: bytes) -> dict[bytes, int]:
    """Return a stream's frame lengths in bytes, by the first three bytes of a header; empty if `head` is not a header.

    `head` are the first bytes of the stream.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[2] >> 2 & 3 == 3 or _version(head) == 1:
        return {}
    version, rate = _version(head), head[2] >> 2 & 3
    rate_hz = _RATES_HZ[rate] // _RATE_DIVISORS[version]
    sizes = {}
    for k, kbit in enumerate(_KBIT[3 if version == 3 else 2], start=1):
        n_bytes = (144_000 if version == 3 else 72_000) * kbit // rate_hz
        for protection, padding, private in product((0, 1), repeat=3):
            second = 0xE2 | version << 3 | protection
            third = k << 4 | rate << 2 | padding << 1 | private
            sizes[bytes((0xFF, second, third))] = n_bytes + padding
    return sizes


def _list_frames(file: BinaryIO, start: int, frame_bytes: dict[bytes, int]) -> tuple[array[int], int]:
    """Return offsets of every `STEP`-th frame and of the end, and the number of frames; other bytes end the list."""
    starts, n_frames = array("q"), 0
    get = frame_bytes.get
    while True:
        file.seek(start)
        block = file.read(_BLOCK_BYTES)
        position, last = 0, len(block) - 4
        while position <= last and (n_bytes := get(block[position : position + 3])):
            if not n_frames % STEP:
                starts.append(start + position)
            n_frames += 1
            position += n_bytes
        start += position
        if position <= last or len(block) < _BLOCK_BYTES:
            starts.append(start)
            return starts, n_frames


def _read_delay(fields: bytes) -> int:
    """Return the encoder's delay in samples from the bytes after a tag's name; 0 if it has none."""
    flags = int.from_bytes(fields[:4], "big")
    at = 4 + sum(_TAG_FIELD_BYTES[k] for k in range(_N_TAG_FIELDS) if flags >> k & 1) + _DELAY_AT
    return int.from_bytes(fields[at : at + 2], "big") >> 4


def _agrees(path: Path, index: FrameIndex) -> bool:
    """Return True if seeking by the index gives the samples that decoding from the start gives, near the start."""
    if index.n_frames < 4 * N_BEFORE:
        return False
    first = 3 * N_BEFORE * index.frame_samples
    n = _N_COMPARED * index.frame_samples
    with path.open("rb") as file, soundfile.SoundFile(file) as audio_file:
        expected = audio_file.read(first + n, dtype="float32", always_2d=True)[first:]
    decoded = next(index.blocks(path, first, first + n), expected[:0])
    return expected.shape == decoded.shape and bool(np.allclose(expected, decoded, atol=_TOLERANCE))


def _silence_start(content: bytearray, frame_bytes: dict[bytes, int]) -> None:
    """Silence the first frames of `content`, whose data may begin before it: the decoder would warn of each.

    Their other bytes stay, since later frames may use them.
    """
    position, n_before = 0, 0
    is_first_version = _version(content) == 3
    n_needed = 511 if is_first_version else 255
    while n_before < n_needed and (n_bytes := frame_bytes.get(bytes(content[position : position + 3]))):
        is_mono, has_checksum = content[position + 3] >> 6 == 3, not content[position + 1] & 1
        start = position + (6 if has_checksum else 4)
        end = start + _SIDE_BYTES[is_first_version, is_mono]
        content[start:end] = bytes(end - start)
        content[start : start + 2] = (n_before << 7 if is_first_version else n_before << 8).to_bytes(2, "big")
        position += n_bytes
        n_before += position - end


def _silent_frames(content: bytearray, frame_bytes: dict[bytes, int], n_frames: int) -> bytes:
    """Return silent frames, after which `content` has the size of `n_frames` frames as large as its first.

    The decoder derives from the size how many frames there are to decode.
    """
    head = bytes((content[0], content[1] | 1, *content[2:4]))  # without a checksum
    n_bytes = frame_bytes.get(head[:3], 0)
    return (head + bytes(max(n_bytes - 4, 0))) * max(n_frames + 1 - len(content) // max(n_bytes, 1), 0)
