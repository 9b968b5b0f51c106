"""Detection of samples beyond the length in a file's header, as after a power failure of the recorder."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from dawnchorus.audio.riff import Chunk, is_placeholder, iter_chunks, read_chunk
from dawnchorus.storage.positioned_file import PositionedFile

SUBTYPES = {
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
    (6, 8): "ALAW",
    (7, 8): "ULAW",
}
"""libsndfile's encoding by format tag and bits of a WAV file, if each sample can be decoded alone."""

_EXTENSIBLE = 0xFFFE
_AIFF_SUBTYPES = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}
_AU_SUBTYPES = {1: ("ULAW", 1), 2: ("PCM_S8", 1), 3: ("PCM_16", 2), 4: ("PCM_24", 3), 5: ("PCM_32", 4), 6: ("FLOAT", 4)}

_TRAILING_CHUNKS = (b"LIST", b"guan", b"wamd", b"bext", b"iXML", b"id3 ", b"cue ", b"JUNK", b"FLLR", b"PAD ")
_MAX_TRAILER_BYTES = 1 << 18
_ZEROS_STEP_BYTES = 1 << 20
_MIN_ZEROS_S = 0.1
"""Minimum seconds of zeros at the end to be left out: space reserved by the recorder. Fewer zeros are silence."""

_OTHER_FILES = (b"RIFF", b"RF64", b"BW64")
"""First bytes of an appended file, which is not part of the audio."""

_MIN_BEYOND_S = 0.1
"""Minimum length in seconds of samples beyond a stated length; less is padding."""

_TEXT_BYTES = 64
"""Number of bytes after the samples that, if all are printable, are taken for text."""


@dataclass(frozen=True)
class UndeclaredAudio:
    """All samples of a file that has samples beyond the length in its header.

    `frame_bytes` and `endian` are used only if `subtype` is known. FFmpeg decodes the samples of a CAF file.
    """

    start: int
    """Offset in bytes of the file's first sample."""
    n_bytes: int
    """Number of bytes of all samples, those within the header's length included."""
    stated: str
    """Length in the header, in words for the warning, such as "0 bytes"."""
    container: str
    """Kind of file: "WAV", "AIFF", "AU" or "CAF"."""
    rate_hz: int = 0
    """Sample rate; 0 in a CAF file."""
    n_channels: int = 0
    """Number of channels; 0 in a CAF file."""
    frame_bytes: int = 1
    """Number of bytes of one frame, a sample of each channel."""
    subtype: str | None = None
    """libsndfile's name of the encoding, such as "PCM_16"; None if no sample can be decoded by itself, as in ADPCM."""
    endian: str = "LITTLE"
    """Byte order of the samples: "LITTLE" or "BIG"."""
    is_short: bool = False
    """True if the header states a length, and samples continue after it; False if the length was never written."""
    zeros_s: float = 0.0
    """Seconds of zeros after the samples, which are left out."""

    @property
    def warning(self) -> str:
        """Message for the user."""
        zeros = f"; {self.zeros_s:.3f} s of zeros at the end are left out" if self.zeros_s else ""
        fault = "length too short" if self.is_short else "length never written"
        is_lost = self.is_short and self.subtype is None
        outcome = "those are not read: save it as PCM" if is_lost else "all samples behind it are read"
        return f"{fault}: the header says {self.stated}; {outcome}{zeros}"


def find_undeclared_audio(path: Path) -> UndeclaredAudio | None:
    """Find samples beyond the length in the header of a WAV, AIFF, AU or CAF file; None if there are none.

    The length may be missing, or, in a WAV file, too short by at least 0.1 s. Samples that are all zero do not count,
    except in encodings such as ADPCM, for which `UndeclaredAudio.subtype` is None.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic in (b"RIFF", b"RF64", b"BW64", b"riff"):
            audio = _in_wav(file, size)
        elif magic == b"FORM":
            audio = _in_aiff(file, size)
        elif magic == b".snd":
            audio = _in_au(file, size)
        elif magic == b"caff":
            audio = _in_caf(file, size)
        else:
            return None
        return None if audio is None else _without_zeros(file, audio)


def open_undeclared_audio(path: Path, audio: UndeclaredAudio) -> BinaryIO:
    """Open the samples that `find_undeclared_audio` found in the file `path`, as a binary file.

    Its content is the encoded samples alone, without a header, from `audio.start` on.
    """
    return io.BufferedReader(_Region(path, audio.start, audio.n_bytes))


class _Region(PositionedFile):
    """A range of bytes of a file, as a file."""

    def __init__(self, path: Path, start: int, n_bytes: int) -> None:
        super().__init__(n_bytes)
        self._file, self._start = path.open("rb"), start

    def read_at(self, start: int, n: int) -> bytes:
        self._file.seek(self._start + start)
        return self._file.read(max(min(n, self._size - start), 0))

    def close(self) -> None:
        self._file.close()
        super().close()


def _in_wav(file: BinaryIO, size: int) -> UndeclaredAudio | None:
    chunks, form, end = list(iter_chunks(file)), None, 0
    for k, chunk in enumerate(chunks):
        if chunk.name == b"fmt ":
            form = _wav_format(read_chunk(file, chunk))
        if chunk.name == b"data":
            if chunk.size and chunk.start + chunk.size <= size:
                return form and _find_beyond_length(file, form, chunk, chunks[k + 1 :], size)
            if not is_placeholder(chunk.size):
                return None
            if chunk.size == 0 and _is_chain(chunks[k + 1 :], chunk.start, size):
                return None  # whole chunks follow up to the end: there are no samples
            stated = "0 bytes" if chunk.size == 0 else f"{chunk.size} bytes, a placeholder"
            stop = _trailer_start(file, chunk.start, size)
            return _with_size(form, start=chunk.start, n_bytes=stop - chunk.start, stated=stated)
        end = chunk.start + chunk.size + chunk.size % 2
    if form is None or end >= size:
        return None
    return _with_size(form, start=end, n_bytes=size - end, stated="nothing of its samples, it is cut short")


def _find_beyond_length(
    file: BinaryIO, form: UndeclaredAudio, data: Chunk, others: list[Chunk], size: int
) -> UndeclaredAudio | None:
    """Find samples after the stated length; None if there is nothing but chunks, padding, zeros or text."""
    end = data.start + data.size
    min_bytes = _MIN_BEYOND_S * form.rate_hz * form.frame_bytes
    if size - end < min_bytes:
        return None
    if others and (others[0].name in (*_TRAILING_CHUNKS, *_OTHER_FILES) or _is_chain(others, end, size)):
        return None
    file.seek(end)
    start_of_rest = file.read(_TEXT_BYTES)
    if start_of_rest.isascii() and start_of_rest.decode().replace("\r", " ").replace("\n", " ").isprintable():
        return None
    stop = _trailer_start(file, end, size)
    if stop - end < min_bytes:
        return None
    stated = f"{data.size} bytes, {stop - end} more follow that are no chunks"
    audio = _with_size(form, start=data.start, n_bytes=stop - data.start, stated=stated)
    if audio is None or not _find_last_used(file, replace(form, start=end, n_bytes=stop - end)):
        return None
    return replace(audio, is_short=True)


def _with_size(form: UndeclaredAudio | None, *, start: int, n_bytes: int, stated: str) -> UndeclaredAudio | None:
    if form is None or n_bytes < form.frame_bytes:
        return None
    return replace(form, start=start, n_bytes=n_bytes, stated=stated)


def _wav_format(content: bytes) -> UndeclaredAudio | None:
    if len(content) < 16:
        return None
    tag, n_channels, rate_hz, _, frame_bytes, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == _EXTENSIBLE and len(content) >= 26:
        tag = int.from_bytes(content[24:26], "little")
    if not (n_channels and rate_hz and frame_bytes):
        return None
    subtype = SUBTYPES.get((tag, bits)) if frame_bytes == n_channels * bits // 8 else None
    return UndeclaredAudio(0, 0, "", "WAV", rate_hz, n_channels, frame_bytes, subtype)


def _is_chain(chunks: list[Chunk], start: int, size: int) -> bool:
    """Return True if complete chunks, one after the other, fill the file from `start` to its end."""
    end = start
    for chunk in chunks:
        end = chunk.start + chunk.size + chunk.size % 2
    return size <= end <= size + 1 if chunks else start >= size


def _trailer_start(file: BinaryIO, start: int, size: int) -> int:
    """Return the offset of the chunks after the samples, if known chunks fill the file to its end; else its size."""
    first = max(start, size - _MAX_TRAILER_BYTES)
    file.seek(first)
    tail = file.read()
    for at in sorted(_positions(tail)):
        if _fills(tail, at):
            return first + at
    return size


def _positions(tail: bytes) -> Iterator[int]:
    for name in _TRAILING_CHUNKS:
        at = tail.find(name)
        while at >= 0:
            yield at
            at = tail.find(name, at + 1)


def _fills(tail: bytes, at: int) -> bool:
    while at + 8 <= len(tail):
        n_bytes = int.from_bytes(tail[at + 4 : at + 8], "little")
        if tail[at : at + 4] not in _TRAILING_CHUNKS:
            return False
        at += 8 + n_bytes + n_bytes % 2
    return len(tail) <= at <= len(tail) + 1


def _in_aiff(file: BinaryIO, size: int) -> UndeclaredAudio | None:
    """Find the samples of an AIFF file whose header states 0 frames; None if it states another number."""
    form, position = None, 12
    while position + 8 <= size:
        file.seek(position)
        name, n_bytes = struct.unpack(">4sI", file.read(8))
        if name == b"COMM":
            form = _aiff_format(file.read(min(n_bytes, 64)))
        if name == b"SSND":
            if form is None or n_bytes > 8 or position + 16 >= size:
                return None
            return _with_size(form, start=position + 16, n_bytes=size - position - 16, stated="0 frames")
        position += 8 + n_bytes + n_bytes % 2
    return None


def _aiff_format(content: bytes) -> UndeclaredAudio | None:
    if len(content) < 18:
        return None
    n_channels, n_frames, bits, exponent, mantissa = struct.unpack(">hIhHQ", content[:18])
    rate_hz = round(mantissa * 2.0 ** (exponent - 16383 - 63)) if exponent < 16383 + 32 else 0
    encoding = content[18:22] or b"NONE"
    if n_frames or n_channels < 1 or not rate_hz:
        return None
    subtype = _AIFF_SUBTYPES.get(bits) if encoding in (b"NONE", b"twos", b"sowt") else None
    endian = "LITTLE" if encoding == b"sowt" else "BIG"
    return UndeclaredAudio(0, 0, "", "AIFF", rate_hz, n_channels, max(n_channels * bits // 8, 1), subtype, endian)


def _in_au(file: BinaryIO, size: int) -> UndeclaredAudio | None:
    header = file.read(24)
    if len(header) < 24:
        return None
    start, n_bytes, encoding, rate_hz, n_channels = struct.unpack(">4x5I", header)
    if not is_placeholder(n_bytes) or n_channels < 1 or not rate_hz:
        return None
    subtype, sample_bytes = _AU_SUBTYPES.get(encoding, (None, 1))
    stated = "0 bytes" if n_bytes == 0 else f"{n_bytes} bytes, a placeholder"
    form = UndeclaredAudio(0, 0, "", "AU", rate_hz, n_channels, n_channels * sample_bytes, subtype, "BIG")
    return _with_size(form, start=start, n_bytes=size - start, stated=stated)


def _in_caf(file: BinaryIO, size: int) -> UndeclaredAudio | None:
    """Find the samples of a CoreAudio file whose data chunk has the length 0 or -1; FFmpeg decodes them."""
    position = 8
    while position + 12 <= size:
        file.seek(position)
        name, n_bytes = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            start = position + 16
            is_unknown = n_bytes in (-1, 0) and start < size
            stated = f"{n_bytes} bytes"
            return UndeclaredAudio(start, size - start, stated, "CAF") if is_unknown else None
        if n_bytes < 0:
            return None
        position += 12 + n_bytes
    return None


def _without_zeros(file: BinaryIO, audio: UndeclaredAudio) -> UndeclaredAudio | None:
    """Return the samples without zeros at their end; None if all are zero."""
    if audio.subtype is None:
        return audio
    n = _find_last_used(file, audio)
    n_frames, n_used = audio.n_bytes // audio.frame_bytes, -(-n // audio.frame_bytes)
    if not n_used:
        return None
    zeros_s = (n_frames - n_used) / audio.rate_hz
    if zeros_s < _MIN_ZEROS_S:
        return audio
    return replace(audio, n_bytes=n_used * audio.frame_bytes, zeros_s=zeros_s)


def _find_last_used(file: BinaryIO, audio: UndeclaredAudio) -> int:
    """Return the number of bytes up to the last one that is not zero."""
    stop = audio.n_bytes
    while stop > 0:
        step = min(_ZEROS_STEP_BYTES, stop)
        file.seek(audio.start + stop - step)
        used = len(file.read(step).rstrip(b"\0"))
        if used:
            return stop - step + used
        stop -= step
    return 0
