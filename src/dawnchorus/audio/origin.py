"""When and where a recording was made: from GUANO, AudioMoth comments and recorders' file names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dawnchorus.audio.riff import iter_chunks, read_chunk
from dawnchorus.types import Origin

_NAME_TIME = re.compile(r"(?:^|_)(\d{8})[_T](\d{6})(Z|[+-]\d{4})?(?:$|_)")
"""Song Meter, AudioMoth and Frontier Labs names: `[PREFIX_]YYYYMMDD_HHMMSS[Z or offset]`."""

_HEX_NAME = re.compile(r"[0-9A-F]{8}")
"""Names of the oldest AudioMoth firmware: Unix time as eight hexadecimal digits."""

_OLDEST_AUDIOMOTH = datetime(2017, 1, 1, tzinfo=UTC)

LAST_YEAR = 2100
"""Later times come from damaged metadata, and the largest overflow when seconds are added."""


def read_origin(path: Path) -> Origin:
    """What the file's metadata, and then its name, say of time and place; fields that nothing states stay None.

    A GUANO chunk is trusted before an AudioMoth comment, and both before the file's name. What cannot be understood is
    left out.
    """
    found = Origin()
    for read in _READERS:
        try:
            found = _fill(found, read(path))
        except Exception:  # noqa: BLE001, S112 - whatever a parser stumbles over in metadata, the sound is good
            continue
    return found


def with_name(known: Origin, name: str) -> Origin:
    """What is known of a recording, filled up with what the name says that it had elsewhere."""
    try:
        return _fill(known, _from_name(Path(name)))
    except ValueError:  # digits that are no time
        return known


def _fill(known: Origin, other: Origin | None) -> Origin:
    if other is None:
        return known
    missing = {name: value for name, value in vars(other).items() if getattr(known, name) is None}
    return replace(known, **missing)


def _wav_chunks(path: Path) -> dict[bytes, bytes]:
    with path.open("rb") as file:
        chunks = [c for c in iter_chunks(file) if c.name in (b"guan", b"LIST")]
        return {chunk.name: read_chunk(file, chunk) for chunk in chunks}


def _from_guano(path: Path) -> Origin | None:
    content = _wav_chunks(path).get(b"guan")
    if content is None:
        return None
    from guano import GuanoFile

    fields = GuanoFile.from_string(content.decode("utf-8", "replace").rstrip("\0 "), strict=False)
    place = _place(fields.get("Loc Position"))
    made_by = [str(fields[key]) for key in ("Make", "Model", "Serial") if fields.get(key)]
    return Origin(
        start_time=_clock_time(fields.get("Timestamp")),
        latitude=place and place[0],
        longitude=place and place[1],
        recorder=" ".join(made_by) or None,
        source="guano",
    )


def _clock_time(value: object) -> datetime | None:
    """Return the time with a standard time zone; None if it is no time, too late, or a day or more from UTC."""
    if not isinstance(value, datetime) or value.year > LAST_YEAR:
        return None
    try:
        offset = value.utcoffset()
    except ValueError:  # guano's own time zones hold any number of hours
        return None
    return value if offset is None else value.replace(tzinfo=timezone(offset))


def _place(position: object) -> tuple[float, float] | None:
    """Latitude and longitude, where the position is one on Earth."""
    if not isinstance(position, tuple) or len(position) != 2:
        return None
    latitude, longitude = map(float, position)
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _from_audiomoth_comment(path: Path) -> Origin | None:
    _, _, sized = _wav_chunks(path).get(b"LIST", b"").partition(b"ICMT")
    comment = sized[4:].split(b"\0")[0].decode("utf-8", "replace")
    if "AudioMoth" not in comment:
        return None
    from metamoth.parsing import parse_comment

    fields = parse_comment(comment)
    return Origin(
        start_time=_clock_time(fields["datetime"].replace(tzinfo=fields["timezone"])),
        recorder=f"AudioMoth {fields['audiomoth_id']}",
        source="AudioMoth comment",
    )


def _from_name(path: Path) -> Origin | None:
    stem = path.stem
    match = _NAME_TIME.search(stem)
    if match:
        day, time, offset = match.groups()
        moment = datetime.strptime(day + time, "%Y%m%d%H%M%S")  # noqa: DTZ007 - a recorder's local time
        if not 1970 <= moment.year <= LAST_YEAR:  # digits that mean something else
            return None
        return Origin(start_time=moment.replace(tzinfo=_zone(offset)), source="file name")
    if _HEX_NAME.fullmatch(stem):
        moment = datetime.fromtimestamp(int(stem, 16), UTC)
        if moment >= _OLDEST_AUDIOMOTH:
            return Origin(start_time=moment, source="file name")
    return None


def _zone(offset: str | None) -> timezone | None:
    if offset is None:
        return None
    if offset == "Z":
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


_READERS: tuple[Callable[[Path], Origin | None], ...] = (
    _from_guano,
    _from_audiomoth_comment,
    _from_name,
)


def origin_to_json(origin: Origin) -> dict[str, Any]:
    """The fields as JSON values; the time as ISO 8601."""
    return {**vars(origin), "start_time": origin.start_time and origin.start_time.isoformat()}


def origin_from_json(fields: dict[str, Any]) -> Origin:
    """The reverse of `origin_to_json`."""
    time = fields["start_time"]
    return Origin(**{**fields, "start_time": time and datetime.fromisoformat(time)})
