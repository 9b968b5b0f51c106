"""Seeking in long MP3 files by an index of their frames: libsndfile would read all of them up to the place."""

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
"""Frames between two whose places are kept: 1.7 MB for a day at 44.1 kHz."""

N_BEFORE = 48
"""Frames before the first wanted one, in which its sound may begin."""

N_SLICE = 256
"""Frames that are decoded at a time."""

MAX_INDEXES = 8
"""Indexes that are kept by a process, of the files that were used last."""

_BLOCK_BYTES = 1 << 20
_ID3_BYTES = 10
_HEAD_BYTES = 256
"""Bytes of the first frame that are looked at."""

_KBIT = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates in kbit/s by the version of the header: 3 is MPEG-1, others are MPEG-2 and 2.5."""

_RATES_HZ = (44_100, 48_000, 32_000)
_RATE_DIVISORS = {3: 1, 2: 2, 0: 4}

_TAG = re.compile(rb"Xing|Info")
_N_TAG_FIELDS = 4
"""Fields behind the flags of a tag: the numbers of frames and of bytes, a table, and the quality."""
_TAG_FIELD_BYTES = (4, 4, 100, 4)
_DELAY_AT = 21
"""Place of the encoder's delay, behind these fields."""

_DECODER_DELAY = 529
"""Samples by which a decoder is late; it leaves them out where a tag tells the encoder's delay."""

_SIDE_BYTES = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}
"""Bytes behind the header that say how the sound of a frame is coded: of MPEG-1 or not, of one channel or two."""

_N_COMPARED = 4
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FrameIndex:
    """Places of the frames of an MP3 file."""

    starts: array[int]
    """Bytes before each frame whose number is a multiple of `STEP`, and before the end."""
    n_frames: int
    frame_samples: int
    """Samples of a frame, of one channel."""
    delay: int
    """Samples of the first frames that are no part of the sound."""
    frame_bytes: dict[bytes, int]
    """Bytes of a frame by the first three of its header."""

    def blocks(self, path: Path, first: int, end: int | None) -> Iterator[FloatArray]:
        """Yield samples [n, channels] from number `first` on, up to number `end` or the last frame.

        Raises:
            LibsndfileError: they cannot be decoded.
        """
        while end is None or first < end:
            block = self._read(path, first)[: None if end is None else end - first]
            if not len(block):
                return
            yield block
            first += len(block)

    def _read(self, path: Path, first: int) -> FloatArray:
        """Return samples [n, channels] of at most `N_SLICE` frames; none after the last frame."""
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
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            samples: FloatArray = sound.read(n_frames * self.frame_samples, dtype="float32", always_2d=True)
        return samples[first + self.delay - k * STEP * self.frame_samples :]


def find_frames(path: Path) -> FrameIndex | None:
    """Return the index of an MP3 file; None if its sound cannot be found by one. The last files' indexes are kept."""
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
    """Move behind the ID3 tags at the start, and return the place."""
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
    """Return the bytes of a frame by the first three of its header, of all frames of a stream; empty if it is none."""
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
    """Return the places of every `STEP`-th frame and of the end, and the number of frames, up to what is no frame."""
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
    """Return the encoder's delay in samples from a tag, behind its name; 0 where it has none."""
    flags = int.from_bytes(fields[:4], "big")
    at = 4 + sum(_TAG_FIELD_BYTES[k] for k in range(_N_TAG_FIELDS) if flags >> k & 1) + _DELAY_AT
    return int.from_bytes(fields[at : at + 2], "big") >> 4


def _agrees(path: Path, index: FrameIndex) -> bool:
    """Return True if the index finds the sound that decoding from the start does, in frames near the start."""
    if index.n_frames < 4 * N_BEFORE:
        return False
    first = 3 * N_BEFORE * index.frame_samples
    n = _N_COMPARED * index.frame_samples
    with path.open("rb") as file, soundfile.SoundFile(file) as sound:
        expected = sound.read(first + n, dtype="float32", always_2d=True)[first:]
    decoded = next(index.blocks(path, first, first + n), expected[:0])
    return expected.shape == decoded.shape and bool(np.allclose(expected, decoded, atol=_TOLERANCE))


def _silence_start(content: bytearray, frame_bytes: dict[bytes, int]) -> None:
    """Make frames silent whose sound may begin before `content`: the decoder would complain about each.

    They still hand on the bytes of those before them, since the sound of later frames may begin there.
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
    """Return frames after which `content` has the bytes of `n_frames` as large as its first one.

    From these, the decoder takes how much it has to decode.
    """
    head = bytes((content[0], content[1] | 1, *content[2:4]))  # without a checksum
    n_bytes = frame_bytes.get(head[:3], 0)
    return (head + bytes(max(n_bytes - 4, 0))) * max(n_frames + 1 - len(content) // max(n_bytes, 1), 0)
