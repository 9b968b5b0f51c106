"""Time and location in the metadata of WAV and FLAC files: GUANO, AudioMoth, WAMD, bext and others."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from dawnchorus.audio.clocks import (
    build_time,
    check_location,
    check_time,
    parse_time,
    parse_zone,
)
from dawnchorus.audio.riff import MAX_METADATA_BYTES, iter_chunks, read_chunk
from dawnchorus.tables import is_blank, parse_location
from dawnchorus.types import RecordingMetadata

MetadataChunks = dict[str, bytes]
"""Contents of a file's metadata chunks by name: "guan", "bext", "INFO/ICMT", "FLAC/COMMENT"..."""

_WAV_CHUNKS = frozenset((b"guan", b"wamd", b"bext", b"iXML"))
_MAX_CHUNKS = 200
_MAX_QUOTED = 60
_MAX_FLAC_BLOCKS = 128
_FLAC_COMMENTS = 4

_RECORDED_AT = re.compile(
    r"Recorded at (\d{1,2}):(\d{2}):(\d{2})(?:\.(\d+))?,? (\d{1,2})/(\d{1,2})/(\d{4})(?: ?\((?P<zone>[^)]*)\))?"
)
"""The part that the comments of all AudioMoth firmware versions have in common."""

_BY_AUDIOMOTH = re.compile(r"AudioMoth ([0-9A-Fa-f]{16})")

_GUANO_TIME = re.compile(r"^Timestamp:[ \t]*(.+)", re.MULTILINE)
_GUANO_LOCATION = re.compile(r"^Loc Position:[ \t]*(.+)", re.MULTILINE)

_WAMD_MODEL, _WAMD_SERIAL, _WAMD_TIME, _WAMD_LOCATION = 0x01, 0x02, 0x05, 0x06

_BEXT = struct.Struct("<256s32s32s10s8s")
"""Start of a `bext` chunk (EBU Tech 3285): description, originator, reference, date and time of the first sample."""


def read_metadata_chunks(path: Path) -> MetadataChunks:
    """Return the contents of a WAV or FLAC file's metadata chunks by name; empty for other files and on read errors.

    Names are "guan", "wamd", "bext", "iXML", "INFO/" and the name of an entry of the INFO list, such as "INFO/ICMT",
    and "FLAC/" and the name of a comment, such as "FLAC/COMMENT".
    """
    try:
        with path.open("rb") as file:
            return dict(_iter_flac_chunks(file) if _is_flac(file) else _iter_wav_chunks(file))
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return {}


def _is_flac(file: BinaryIO) -> bool:
    magic = file.read(4)
    file.seek(0)
    return magic == b"fLaC"


def _iter_wav_chunks(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    for chunk in list(iter_chunks(file)):
        if chunk.name in _WAV_CHUNKS:
            yield chunk.name.decode(), read_chunk(file, chunk)
        elif chunk.name.upper() == b"LIST":
            content = read_chunk(file, chunk)
            if content[:4] == b"INFO":
                yield from _iter_info(content)


def _iter_info(content: bytes) -> Iterator[tuple[str, bytes]]:
    position = 4
    for _ in range(_MAX_CHUNKS):
        head = content[position : position + 8]
        if len(head) < 8:
            return
        name, size = struct.unpack("<4sI", head)
        yield f"INFO/{name.decode('latin-1')}", content[position + 8 : position + 8 + size].split(b"\0")[0]
        position += 8 + size + size % 2


def _iter_flac_chunks(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    file.seek(4)
    for _ in range(_MAX_FLAC_BLOCKS):
        head = file.read(4)
        if len(head) < 4:
            return
        size = int.from_bytes(head[1:], "big")
        if head[0] & 0x7F == _FLAC_COMMENTS:
            yield from _iter_vorbis_comments(file.read(min(size, MAX_METADATA_BYTES)))
            return
        if head[0] & 0x80:
            return
        file.seek(size, 1)


def _iter_vorbis_comments(content: bytes) -> Iterator[tuple[str, bytes]]:
    position = 4 + int.from_bytes(content[:4], "little")
    n = int.from_bytes(content[position : position + 4], "little")
    position += 4
    for _ in range(min(n, _MAX_CHUNKS)):
        size = int.from_bytes(content[position : position + 4], "little")
        name, _, value = content[position + 4 : position + 4 + size].partition(b"=")
        yield f"FLAC/{name.decode('latin-1').upper()}", value
        position += 4 + size


def read_guano(chunks: MetadataChunks) -> RecordingMetadata | None:
    """Parse time, location and recorder in a GUANO chunk; None if there is no such chunk.

    Missing fields are None; a time or location that cannot be parsed is also None, and described in `unread`.
    """
    if "guan" not in chunks:
        return None
    from guano import GuanoFile

    text = _text(chunks, "guan")
    fields = GuanoFile.from_string(text, strict=False)
    written, location = _GUANO_TIME.search(text), _GUANO_LOCATION.search(text)
    made_by = [str(fields[key]) for key in ("Make", "Model", "Serial") if fields.get(key)]
    return _metadata(
        "guano",
        start_time=check_time(fields.get("Timestamp")),
        written="" if written is None else written[1],
        location="" if location is None else location[1].strip(),
        recorder=" ".join(made_by),
    )


def read_audiomoth_comment(chunks: MetadataChunks) -> RecordingMetadata | None:
    """Parse an AudioMoth comment, `Recorded at T D (UTC±h[:mm])...`; None if there is none.

    The comment is that of a WAV file's INFO list, or a FLAC file's comment or description. Firmware before 1.0.1 wrote
    no zone; its clock was always UTC. A comment without a zone and without the word AudioMoth is by another program,
    and gives None. A time that cannot be parsed is described in `unread`.
    """
    comment = _text(chunks, "INFO/ICMT") or _text(chunks, "FLAC/COMMENT") or _text(chunks, "FLAC/DESCRIPTION")
    match = _RECORDED_AT.search(comment)
    if match is None or not (match["zone"] or "AudioMoth" in comment):
        return None
    hour, minute, second, fraction, day, month, year = match.groups()[:7]
    zone = parse_zone((match["zone"] or "UTC").replace(" ", ""))
    moment = build_time(int(year), int(month), int(day), int(hour), int(minute), int(second), fraction=fraction)
    device = _BY_AUDIOMOTH.search(comment) or _BY_AUDIOMOTH.search(_text(chunks, "INFO/IART"))
    return _metadata(
        "AudioMoth comment",
        start_time=None if moment is None or zone is None else moment.replace(tzinfo=zone),
        written=match[0],
        recorder="" if device is None else f"AudioMoth {device[1]}",
    )


def read_wamd(chunks: MetadataChunks) -> RecordingMetadata | None:
    """Parse time, location and recorder in a chunk of Wildlife Acoustics (WAMD); None if there is no such chunk.

    Missing fields are None; a time or location that cannot be parsed is also None, and described in `unread`.
    """
    if "wamd" not in chunks:
        return None
    fields = dict(_iter_wamd(chunks["wamd"]))
    model, serial = (fields.get(key, "") for key in (_WAMD_MODEL, _WAMD_SERIAL))
    return _metadata(
        "wamd",
        start_time=parse_time(fields.get(_WAMD_TIME, "")),
        written=fields.get(_WAMD_TIME, ""),
        location=_wamd_location(fields.get(_WAMD_LOCATION, "")),
        recorder=" ".join(part for part in ("Wildlife Acoustics", model, serial) if part) if model or serial else "",
    )


def _iter_wamd(content: bytes) -> Iterator[tuple[int, str]]:
    position = 0
    for _ in range(_MAX_CHUNKS):
        head = content[position : position + 6]
        if len(head) < 6:
            return
        number, size = struct.unpack("<HI", head)
        yield number, content[position + 6 : position + 6 + size].decode("utf-8", "replace").strip("\0 ")
        position += 6 + size


def _wamd_location(text: str) -> str:
    """Return the location in a WAMD chunk in a form that `tables.parse_location` reads.

    A Song Meter's `WGS84,42.12,N,71.12,W,55` becomes `42.12,N,71.12,W`; an Echo Meter's becomes `42.12, -71.12`. Other
    texts are returned unchanged.
    """
    datum, *fields = [field.strip() for field in text.split(",")]
    if not datum.upper().startswith("WGS"):
        return text
    is_directed = len(fields) >= 4 and fields[1].upper() in ("N", "S")
    return ",".join(fields[:4]) if is_directed else ", ".join(fields[:2])


def read_bext(chunks: MetadataChunks) -> RecordingMetadata | None:
    """Parse time and recorder in the `bext` chunk of a Broadcast Wave file; None if there is no such chunk.

    The time has no zone, and is None if it cannot be parsed.
    """
    content = chunks.get("bext", b"")
    if len(content) < _BEXT.size:
        return None
    _, originator, _, date, time = (field.split(b"\0")[0].decode("latin-1") for field in _BEXT.unpack_from(content))
    return _metadata("bext", start_time=parse_time(f"{date} {time}"), recorder=originator.strip())


def read_ixml(chunks: MetadataChunks) -> RecordingMetadata | None:
    """Parse time and location in an iXML chunk; None if there is no such chunk.

    Recorders copy the time from `bext`; it is None if it cannot be parsed. A location that cannot be parsed is also
    None, and described in `unread`.
    """
    text = _text(chunks, "iXML")
    if not text:
        return None
    date, time = _element(text, "BWF_ORIGINATION_DATE"), _element(text, "BWF_ORIGINATION_TIME")
    return _metadata("iXML", start_time=parse_time(f"{date} {time}"), location=_element(text, "LOCATION_GPS"))


def _element(text: str, name: str) -> str:
    """Return the text of an XML element; empty without it. A search, since the file may not be valid XML."""
    match = re.search(rf"<{name}>([^<]{{0,100}})</{name}>", text)
    return "" if match is None else match[1].strip()


def read_flac_comments(chunks: MetadataChunks) -> RecordingMetadata | None:
    """Parse the comments `RECORDINGSTART` and `SENSORLOCATION` of Frontier Labs FLAC files; None if there are neither.

    A time or location that cannot be parsed is None, and described in `unread`.
    """
    time, location = _text(chunks, "FLAC/RECORDINGSTART"), _text(chunks, "FLAC/SENSORLOCATION")
    if not time and not location:
        return None
    return _metadata(
        "FLAC comments",
        start_time=parse_time(time),
        written=time,
        location=location,
        recorder=" ".join(("Frontier Labs", _text(chunks, "FLAC/SENSORUID"))).strip(),
    )


def read_info_date(chunks: MetadataChunks) -> RecordingMetadata | None:
    """Parse the creation time (ICRD) in a WAV file's INFO list, often that of an edit; None if there is no such entry.

    The time is None if it cannot be parsed.
    """
    text = _text(chunks, "INFO/ICRD")
    return _metadata("ICRD", start_time=parse_time(text)) if text else None


def _text(chunks: MetadataChunks, name: str) -> str:
    return chunks.get(name, b"").decode("utf-8", "replace").strip("\0 \r\n")


def _metadata(
    source: str,
    *,
    start_time: datetime | None = None,
    written: str = "",
    location: str = "",
    recorder: str = "",
) -> RecordingMetadata:
    """Return the metadata of one source.

    A `written` time that gave no `start_time`, and a `location` that cannot be parsed, are described in `unread`.
    """
    given = parse_location(location)
    latitude, longitude = (given and check_location(*given)) or (None, None)
    unread = []
    if start_time is None and written:
        unread.append(f"{source} has a time that is not understood: {written[:_MAX_QUOTED]!r}")
    if given is None and not all(map(is_blank, location.split())):
        unread.append(f"{source} has a location that is not understood: {location[:_MAX_QUOTED]!r}")
    return RecordingMetadata(
        start_time=start_time,
        latitude=latitude,
        longitude=longitude,
        recorder=recorder or None,
        source=source,
        unread="; ".join(unread) or None,
    )
