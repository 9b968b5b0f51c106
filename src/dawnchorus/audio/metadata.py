"""Time and location of a recording, from its metadata and file name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus.audio.clocks import LAST_YEAR as LAST_YEAR  # noqa: PLC0414 - for other packages
from dawnchorus.audio.file_names import read_name
from dawnchorus.audio.recorder_notes import (
    MetadataChunks,
    read_audiomoth_comment,
    read_bext,
    read_flac_comments,
    read_guano,
    read_info_date,
    read_ixml,
    read_metadata_chunks,
    read_wamd,
)
from dawnchorus.types import RecordingMetadata

Reader = Callable[[Path, MetadataChunks], RecordingMetadata | None]


def _from_notes(read: Callable[[MetadataChunks], RecordingMetadata | None]) -> Reader:
    return lambda _path, notes: read(notes)


READERS: tuple[Reader, ...] = (
    _from_notes(read_guano),
    _from_notes(read_audiomoth_comment),
    _from_notes(read_wamd),
    _from_notes(read_flac_comments),
    _from_notes(read_bext),
    _from_notes(read_ixml),
    lambda path, _notes: read_name(path),
    _from_notes(read_info_date),
)
"""Readers of a file's metadata and name, in descending order of trust.

What a recorder writes into the file comes first, then the name, and then a date that editing programs change.
"""

_SAME_TIME = timedelta(seconds=2)
_MAX_AHEAD = timedelta(days=1)
"""Margin before a time counts as in the future, since its zone may be unknown."""
_SAME_DEGREES = 0.01
"""Tolerance between two locations in degrees, about a kilometer: the error of receivers without a good fix."""


def read_metadata(path: Path, readers: Sequence[Reader] = READERS) -> RecordingMetadata:
    """Read location and time from a file's metadata and its name; unknown fields are None.

    `readers` are functions that get the path and the file's metadata chunks and return metadata or None, in descending
    order of trust: of each field, the first value is used (`merge_metadata`). Contradictions between their results are
    described in `conflict`, and times and locations that cannot be read in `unread`. A reader that raises an exception
    is passed over.
    """
    notes = read_metadata_chunks(path)
    sources = []
    for read in readers:
        try:
            sources.append(read(path, notes))
        except Exception:  # noqa: BLE001, S112 - whatever a parser stumbles over in metadata, the sound is good
            continue
    return merge_metadata(metadata for metadata in sources if metadata is not None)


def with_name(known: RecordingMetadata, name: str) -> RecordingMetadata:
    """Return the metadata `known`, with missing fields filled in from the recording's original file name `name`.

    Fields of `known` have precedence; contradictions between them and the name are described in `conflict`.
    """
    named = read_name(Path(name))
    return known if named is None else merge_metadata([known, named])


def merge_metadata(sources: Iterable[RecordingMetadata]) -> RecordingMetadata:
    """Merge metadata field by field; of each field, the first source that has a value is used.

    `sources` are in descending order of trust. Latitude and longitude are of the same source. A time without a zone
    gets the zone of another source with the same clock time. In the result, `source` is that of the time, or else the
    first one that is not None. `conflict` and `unread` have all texts of the sources, separated by "; "; `conflict` has
    also the contradictions between the sources, and a start time more than a day in the future. Both are None if there
    is nothing to report.
    """
    known = list(sources)
    timed = [metadata for metadata in known if metadata.start_time is not None]
    located = [metadata for metadata in known if metadata.latitude is not None]
    conflicts = [metadata.conflict for metadata in known if metadata.conflict]
    start_time = None
    if timed:
        start_time = _with_zone([metadata.start_time for metadata in timed if metadata.start_time is not None])
        conflicts += _time_conflicts(timed, start_time)
    conflicts += _location_conflicts(located)
    return RecordingMetadata(
        start_time=start_time,
        latitude=located[0].latitude if located else None,
        longitude=located[0].longitude if located else None,
        recorder=next((metadata.recorder for metadata in known if metadata.recorder is not None), None),
        source=next((metadata.source for metadata in [*timed, *known] if metadata.source is not None), None),
        conflict="; ".join(dict.fromkeys(conflicts)) or None,
        unread="; ".join(dict.fromkeys(metadata.unread for metadata in known if metadata.unread)) or None,
    )


def _with_zone(times: Sequence[datetime]) -> datetime:
    first = times[0]
    if first.tzinfo is not None:
        return first
    same = (time.tzinfo for time in times if time.tzinfo and abs(time.replace(tzinfo=None) - first) <= _SAME_TIME)
    return first.replace(tzinfo=next(same, None))


def _time_conflicts(timed: Sequence[RecordingMetadata], used: datetime) -> list[str]:
    others = [
        f"{timed[0].source} says {used.isoformat(' ')}, {other.source} {other.start_time.isoformat(' ')}"
        for other in timed[1:]
        if other.start_time is not None and not _is_same_time(used, other.start_time)
    ]
    now = datetime.now(UTC)
    if used.replace(tzinfo=None) > now.replace(tzinfo=None) + _MAX_AHEAD:
        others.append(f"{timed[0].source} says {used.isoformat(' ')}, this computer's clock {now:%Y-%m-%d}")
    return others


def _is_same_time(first: datetime, second: datetime) -> bool:
    """Return True if two times are equal; a time without a zone may be local time or UTC, as in AudioMoths' names."""
    if (first.tzinfo is None) == (second.tzinfo is None):
        return abs(first - second) <= _SAME_TIME
    aware, naive = (first, second) if second.tzinfo is None else (second, first)
    clocks = (aware.replace(tzinfo=None), aware.astimezone(UTC).replace(tzinfo=None))
    return any(abs(clock - naive) <= _SAME_TIME for clock in clocks)


def _location_conflicts(located: Sequence[RecordingMetadata]) -> list[str]:
    return [
        f"{located[0].source} says {_location(located[0])}, {other.source} {_location(other)}"
        for other in located[1:]
        if not np.allclose(_location(other), _location(located[0]), rtol=0, atol=_SAME_DEGREES)
    ]


def describe_other_location(own: RecordingMetadata, used: RecordingMetadata) -> str | None:
    """Return a sentence if the location in a file's metadata (`own`) differs from the one in use (`used`).

    None if they agree within 0.01 degrees, or one of the locations is unknown.
    """
    is_known = own.latitude is not None and used.latitude is not None
    if not is_known or np.allclose(_location(own), _location(used), rtol=0, atol=_SAME_DEGREES):
        return None
    return f"{_location(used)} is given, {own.source or 'the file'} says {_location(own)}"


def _location(metadata: RecordingMetadata) -> tuple[float, float]:
    return metadata.latitude or 0.0, metadata.longitude or 0.0


def metadata_to_json(metadata: RecordingMetadata) -> dict[str, Any]:
    """Return the fields of the metadata by name as JSON values, with the time in ISO 8601."""
    return {**vars(metadata), "start_time": metadata.start_time and metadata.start_time.isoformat()}


def metadata_from_json(fields: dict[str, Any]) -> RecordingMetadata:
    """Return the metadata whose fields `metadata_to_json` returned."""
    time = fields["start_time"]
    return RecordingMetadata(**{**fields, "start_time": time and datetime.fromisoformat(time)})
