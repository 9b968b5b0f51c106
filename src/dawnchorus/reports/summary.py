"""Summary of a run for its page, collected in one pass: counts, hours of the day, the best clip of each species."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dawnchorus.plotting.clip import CLIP_MARGIN_S, Clip
from dawnchorus.types import Detection, RecordingTable, Segment

N_HOURS = 24


@dataclass
class ClassSummary:
    """All detections of one species or sound."""

    scientific_name: str
    common_name: str
    kind: str
    n_detections: int = 0
    n_out_of_range: int = 0
    n_recordings: int = 0
    by_hour: list[int] = field(default_factory=lambda: [0] * N_HOURS)
    best: Clip | None = None

    @property
    def best_score(self) -> float:
        """The highest score of all detections that a clip may be made of."""
        return 0.0 if self.best is None else self.best.detection.score


@dataclass
class RunSummary:
    """Everything a page says of a run's detections."""

    n_recordings: int = 0
    duration_s: float = 0.0
    n_detections: int = 0
    has_clock_time: bool = False
    first_time: datetime | None = None
    last_time: datetime | None = None
    places: set[tuple[float, float]] = field(default_factory=set)
    classes: dict[str, ClassSummary] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[ClassSummary]:
        """Return the classes of a kind, the most frequent first; after them those that were never in range."""
        found = [c for c in self.classes.values() if c.kind == kind]
        return sorted(found, key=lambda c: (c.n_out_of_range == c.n_detections, -c.n_detections, c.common_name))


def summarise(tables: Iterable[tuple[Path, RecordingTable]]) -> RunSummary:
    """Gather the tables of a run; memory grows with the number of species, not of detections."""
    summary = RunSummary()
    for path, table in tables:
        summary.n_recordings += 1
        summary.duration_s += table.duration_s
        _note_origin(summary, table)
        voices: list[Detection | Segment] = [d for d in table.detections if _is_voice(d)]
        voices += () if table.is_silenced else table.speech
        seen: set[str] = set()
        for found in table.detections:
            summary.n_detections += 1
            entry = summary.classes.setdefault(
                found.scientific_name, ClassSummary(found.scientific_name, found.common_name, found.kind)
            )
            _count(entry, found, table.clock_time(found.start_s))
            entry.n_recordings += found.scientific_name not in seen
            seen.add(found.scientific_name)
            if found.kind == "species" and found.score > entry.best_score and not _overlaps(found, voices):
                time, channel = table.clock_time(found.start_s), found.channel or table.channel
                entry.best = Clip(path, found, time, table.duration_s, table.silenced, channel)
    return summary


def _note_origin(summary: RunSummary, table: RecordingTable) -> None:
    origin = table.origin
    if origin.latitude is not None and origin.longitude is not None:
        summary.places.add((round(origin.latitude, 3), round(origin.longitude, 3)))
    if origin.start_time is not None:
        summary.has_clock_time = True
        moment = origin.start_time.replace(tzinfo=None)
        summary.first_time = min(summary.first_time or moment, moment)
        summary.last_time = max(summary.last_time or moment, moment)


def _count(entry: ClassSummary, found: Detection, time: datetime | None) -> None:
    entry.n_detections += 1
    entry.n_out_of_range += found.in_range is False
    if time is not None:
        entry.by_hour[time.hour] += 1


def _is_voice(found: Detection) -> bool:
    return found.kind == "sound" and found.scientific_name.lower().startswith(("human", "speech"))


def _overlaps(found: Detection, others: Sequence[Detection | Segment]) -> bool:
    """Return True if a clip around `found` would make people audible."""
    return any(o.start_s < found.end_s + CLIP_MARGIN_S and o.end_s > found.start_s - CLIP_MARGIN_S for o in others)
