"""Readers of what recorders write beside the samples, and into file names."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from dawnchorus.audio.header_lengths import find_undeclared_audio
from dawnchorus.audio.metadata import metadata_from_json, metadata_to_json, read_metadata, with_name
from dawnchorus.audio.ogg import is_cut_off
from dawnchorus.audio.riff import missing_data_bytes
from dawnchorus.types import RecordingMetadata, RecordingTable
from fuzz.contract import ContractError, Reader, Target, from_file

_LONG_RECORDING_S = 100 * 24 * 3600.0

_GUANO = (
    b"GUANO|Version: 1.0\nTimestamp: 2026-05-01T04:30:00+02:00\nLoc Position: 52.5 13.4\nMake: Maker\nModel: M1\n"
    b"Serial: 7\nSamplerate: 48000\nLength: 0.1\nNote: a\\nb\n"
)
_COMMENTS = (
    b"Recorded at 04:30:00 01/05/2026 by AudioMoth 0123456789ABCDEF at gain setting 2 while battery state was 3.6V",
    b"Recorded at 04:30:00 01/05/2026 (UTC+2) by AudioMoth 0123456789ABCDEF at gain setting 2 while battery state "
    b"was 3.6V.",
    b"Recorded at 04:30:00 01/05/2026 (UTC+2) by AudioMoth 0123456789ABCDEF at medium gain while battery was 3.6V and "
    b"temperature was 21.5C.",
)
_WAMD = struct.pack("<HI", 5, 25) + b"2014-04-02 22:59:14-05:00" + struct.pack("<HI", 6, 20) + b"WGS84,42.5,N,71.25,W"
_BEXT = bytes(320) + b"2024-06-0101:30:05" + bytes(264)
_IXML = b"<BWF_ORIGINATION_DATE>2024-06-01</BWF_ORIGINATION_DATE><LOCATION_GPS>47.7, -122.4</LOCATION_GPS>"
_NAMES = (
    b"DAWN_20260501_043000.wav",
    b"20260501_043000Z.wav",
    b"S4A01234_20260501T043000+0200.flac",
    b"5EB0A2C0.WAV",
    b"S20240815T063156.123456+1000_E20240815T064156+1000_-12.34567+78.98102.wav",
    b"2024-06-01 at 1.30.05 PM.m4a",
    b"Bat Spring-04Jul10-20,32,45.wav",
    b"31-05-2024_01-30-05.wav",
)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _wav(*chunks: bytes) -> bytes:
    form = _chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 48_000, 96_000, 2, 16))
    body = b"WAVE" + form + b"".join(chunks) + _chunk(b"data", b"\0\1" * 8)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _ogg(flags: int) -> bytes:
    return b"OggS" + struct.pack("<BBqIIIB", 0, flags, 0, 1, 0, 0, 2) + bytes([3, 2]) + b"abcde"


def _use(metadata: RecordingMetadata) -> None:
    """Use what was read as the decoder's process, tables and pictures do."""
    if metadata_from_json(json.loads(json.dumps(metadata_to_json(metadata)))) != metadata:
        raise ContractError(f"{metadata} is another one after its way between processes")
    table = RecordingTable("r", _LONG_RECORDING_S, 48_000, metadata, None, ())
    time = table.clock_time(_LONG_RECORDING_S)
    if time is not None:
        time.isoformat(timespec="milliseconds")


def _read_header(path: Path) -> None:
    missing_data_bytes(path)
    find_undeclared_audio(path)
    _use(read_metadata(path))


def _read_name(content: bytes) -> None:
    name = os.fsdecode(content)
    _use(with_name(RecordingMetadata(), name))
    _use(read_metadata(Path(name)))


_CHUNKS: dict[bytes, tuple[str, tuple[bytes, ...]]] = {
    b"guan": ("guano", (_GUANO,)),
    b"LIST": ("audiomoth", _COMMENTS),
    b"wamd": ("wamd", (_WAMD,)),
    b"bext": ("bext", (_BEXT,)),
    b"iXML": ("ixml", (_IXML,)),
}


def _read_chunk(name: bytes, before: bytes) -> Reader:
    """Return a reader of a WAV file with the content in its chunk `name`, after `before`."""
    read = from_file(_read_header, "recording.wav")
    label, seeds = _CHUNKS[name]
    return Reader(label, lambda content: read(_wav(_chunk(name, before + content))), seeds)


TARGET = Target(
    "metadata",
    (
        Reader(
            "riff",
            from_file(_read_header, "recording.wav"),
            (_wav(_chunk(b"guan", _GUANO)), *(_wav(_chunk(b"LIST", b"INFO" + _chunk(b"ICMT", c))) for c in _COMMENTS)),
        ),
        _read_chunk(b"guan", b""),
        _read_chunk(b"LIST", b"INFOICMT\0\1\0\0"),
        *(_read_chunk(name, b"") for name in (b"wamd", b"bext", b"iXML")),
        Reader("ogg", from_file(is_cut_off, "recording.ogg"), (_ogg(0), _ogg(4))),
        Reader("name", _read_name, _NAMES),
    ),
)
