"""Merging of two rows of the recordings table that describe the same recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from dawnchorus.data.recordings import MISSING, Annotation, RecordingRow

_FACTS = {
    "source": ("source",),
    "URL": ("url",),
    "recordist": ("recordist",),
    "license": ("license",),
    "location": ("latitude", "longitude"),
    "locality": ("locality",),
    "country": ("country",),
    "quality": ("quality",),
    "type of sound": ("sound_type",),
    "group": ("given_group",),
    "split": ("split",),
}
"""Facts that are compared by equality, by their names in messages; a fact of several fields is taken as a whole."""

_OF_FILE = ("duration_s", "rate_hz", "n_channels", "container", "n_bytes", "content_hash")
_OF_CHECK = (
    *("audio_hash", "duplicate_of", "duration_s", "rate_hz", "problems"),
    *("label_check", "detected_species", "detected_score", "detected_start_s", "detected_end_s"),
)
"""Fields set by `dawnchorus data check`, valid as long as the file's bytes are the same."""


@dataclass(frozen=True)
class Change:
    """A fact on which two rows of a recording disagree; the new value is used."""

    fact: str
    """Name of the fact in messages, such as "license" or "location" (latitude and longitude)."""
    old: str
    """Old value as text for messages."""
    new: str
    """New value as text for messages."""


@dataclass(frozen=True)
class Combined:
    """A row merged from two rows, and the differences between the two."""

    row: RecordingRow
    """The merged row."""
    kept: tuple[str, ...]
    """Names of the facts (as in `Change.fact`) that only the old row has; the merged row has the old values."""
    changes: tuple[Change, ...]
    """Facts on which the two rows disagree; the merged row has the new values."""


def combine(old: RecordingRow, new: RecordingRow) -> Combined:
    """Merge two rows of one recording: new values replace old ones; where the new row has none, the old ones stay.

    `recording_id` is the old one. `group` is the old one, or the new one if the old row has none. Lists of secondary
    and absent species and annotations are replaced as a whole, unless the new row has none. Of two dates that agree
    (2026 and 2026-05-01), the more exact one is taken. Path and measurements (duration, hashes, ...) are those of the
    new file, or of the old file if the new one is missing; results of `dawnchorus data check` are the old ones if both
    files have the same content.
    """
    kept: list[str] = []
    changes: list[Change] = []
    fields: dict[str, Any] = {}
    for known in (_label(old, new), _lists(old, new), _marks(old, new), _moment(old, new), *_plain(old, new)):
        fields |= known.fields
        kept += known.kept
        changes += known.changes
    fields |= _without_own_species(fields)
    row = replace(new, **_file(old, new), **fields, recording_id=old.recording_id, group=old.group or new.group)
    return Combined(row, tuple(kept), tuple(changes))


@dataclass(frozen=True)
class _Known:
    """Merged fields of some facts, with the facts that only the old row has, and the disagreements."""

    fields: dict[str, Any]
    kept: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


def _plain(old: RecordingRow, new: RecordingRow) -> Iterator[_Known]:
    for fact, names in _FACTS.items():
        yield _fact(fact, {name: getattr(old, name) for name in names}, {name: getattr(new, name) for name in names})


def _fact(fact: str, old: dict[str, Any], new: dict[str, Any]) -> _Known:
    """Merge the fields of one fact: all new fields if a value differs, else new fields completed by old ones."""
    both = [name for name in old if old[name] is not None and new[name] is not None]
    if any(old[name] != new[name] for name in both):
        return _Known(new, changes=(Change(fact, _text(old), _text(new)),))
    fields = {name: old[name] if new[name] is None else new[name] for name in old}
    return _Known(fields, kept=(fact,) if fields != new else ())


def _text(fields: dict[str, Any]) -> str:
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in fields.values() if value)


def _has_label(row: RecordingRow) -> bool:
    return row.scientific_name is not None or row.kind == "background"


def _label_text(row: RecordingRow) -> str:
    return row.scientific_name or "background"


def _label(old: RecordingRow, new: RecordingRow) -> _Known:
    """Merge the label: the species of the recording, or background."""
    names = ("scientific_name", "common_name", "ebird_code", "kind")
    if not _has_label(old) or not _has_label(new):
        first, second = (new, old) if _has_label(new) else (old, new)
        fields = {name: getattr(first, name) or getattr(second, name) for name in names}
        if not _has_label(first) and second.kind == "soundscape":
            fields["kind"] = second.kind
        return _Known(
            fields, kept=("species",) if any(fields[name] != getattr(new, name) for name in names[:3]) else ()
        )
    if _label_text(old) != _label_text(new):
        change = Change("species", _label_text(old), _label_text(new))
        return _Known({name: getattr(new, name) for name in names}, changes=(change,))
    common = _fact("common name", {"common_name": _own_common_name(old)}, {"common_name": _own_common_name(new)})
    code = _fact("species code", {"ebird_code": old.ebird_code}, {"ebird_code": new.ebird_code})
    fields = {"scientific_name": new.scientific_name, "kind": new.kind, **common.fields, **code.fields}
    fields["common_name"] = fields["common_name"] or new.common_name or old.common_name
    return _Known(fields, kept=(*common.kept, *code.kept), changes=(*common.changes, *code.changes))


def _own_common_name(row: RecordingRow) -> str | None:
    """Return the common name; None if it only repeats the scientific name."""
    return None if row.common_name == row.scientific_name else row.common_name


def _lists(old: RecordingRow, new: RecordingRow) -> _Known:
    """Merge the lists of secondary and absent species; a non-empty new list replaces the old one."""
    known = _Known({})
    for fact, name in (("other species", "secondary"), ("absent species", "absent")):
        before, now = getattr(old, name), getattr(new, name)
        differ = before and now and set(before) != set(now)
        changes = (Change(fact, ", ".join(before), ", ".join(now)),) if differ else ()
        kept = (fact,) if before and not now else ()
        known = _Known(known.fields | {name: now or before}, known.kept + kept, known.changes + changes)
    return known


def _without_own_species(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the lists of secondary and absent species without the recording's main species."""
    species = fields["scientific_name"]
    return {name: tuple(each for each in fields[name] if each != species) for name in ("secondary", "absent")}


def _marks(old: RecordingRow, new: RecordingRow) -> _Known:
    """Merge the annotations: the new row's if it is annotated, else the old row's."""
    differ = old.is_annotated and new.is_annotated and set(old.annotations) != set(new.annotations)
    row = new if new.is_annotated else old
    return _Known(
        {"annotations": row.annotations, "is_annotated": row.is_annotated},
        kept=("marks",) if old.is_annotated and not new.is_annotated else (),
        changes=(Change("marks", _marks_text(old.annotations), _marks_text(new.annotations)),) if differ else (),
    )


def _marks_text(marks: tuple[Annotation, ...]) -> str:
    if not marks:
        return "nothing there"
    first = marks[0]
    return f"{len(marks)} (the first {first.start_s:g} to {first.end_s:g} s, {first.scientific_name or 'unknown'})"


def _moment(old: RecordingRow, new: RecordingRow) -> _Known:
    """Merge date and time of day; of 2024 and 2024-05-01, which do not contradict each other, the more exact date."""
    before, now = {"date": old.date, "time": old.time}, {"date": new.date, "time": new.time}
    dates = sorted((date for date in (old.date, new.date) if date), key=len)
    if len(dates) == 2 and dates[1].startswith(dates[0]):
        before["date"] = now["date"] = dates[1]
    known = _fact("time", before, now)
    is_kept = not known.changes and known.fields != {"date": new.date, "time": new.time}
    return replace(known, kept=("time",) if is_kept else ())


def _file(old: RecordingRow, new: RecordingRow) -> dict[str, Any]:
    """Merge the path, the measurements of the file, and the results of a check if the bytes are the same."""
    if MISSING in new.problems and MISSING not in old.problems:
        return {name: getattr(old, name) for name in ("path", *_OF_FILE, *_OF_CHECK)}
    fields = {name: getattr(new, name) for name in (*_OF_FILE, *_OF_CHECK)}
    is_measured = old.content_hash is not None or old.audio_hash is not None
    is_measured_later = new.content_hash is None and new.path == old.path and not new.problems
    if is_measured and is_measured_later and new.n_bytes in (None, old.n_bytes):
        fields |= {name: getattr(old, name) for name in _OF_FILE if getattr(old, name) is not None}
    if old.content_hash is not None and old.content_hash == fields["content_hash"] and old.audio_hash is not None:
        fields |= {name: getattr(old, name) for name in _OF_CHECK}
    return fields
