"""Summary of an identification run for its report: counts, hours of the day, the best clip of each species."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.plotting.clip import CLIP_MARGIN_S, DetectionClip
from dawnchorus.types import Detection, RecordingTable, Segment

N_HOURS = 24

_COUNTED = ("scientific_name", "common_name", "kind", "start_s", "score", "in_range")


@dataclass
class ClassSummary:
    """Summary of the detections of one class (a species, or another sound) in a run."""

    scientific_name: str
    """Scientific name of the species, or the name of the sound."""
    common_name: str
    """Common name of the species, or the name of the sound."""
    kind: str
    """Kind of the class: "species" or "sound"."""
    n_detections: int = 0
    """Number of all detections of the class."""
    n_out_of_range: int = 0
    """Number of detections where the range model does not expect the species."""
    n_recordings: int = 0
    """Number of recordings with a detection of the class."""
    by_hour: list[int] = field(default_factory=lambda: [0] * N_HOURS)
    """Number of detections in each hour of the day, from 0 to 23; detections without a clock time are left out."""
    best: DetectionClip | None = None
    """Clip of the highest-scoring detection without human speech in the clip; None if there is none, or for sounds.

    Speech that is silenced in the clip does not count, unless the model detected it as a sound.
    """

    @property
    def best_score(self) -> float:
        """Score of the detection in `best`; 0 if `best` is None."""
        return 0.0 if self.best is None else self.best.detection.score


@dataclass
class RunSummary:
    """Summary of an identification run."""

    n_recordings: int = 0
    """Number of tables that were summarized, one for each identified recording."""
    duration_s: float = 0.0
    """Length of all recordings in seconds."""
    n_detections: int = 0
    """Number of detections in all recordings."""
    has_clock_time: bool = False
    """True if the start time of at least one recording is known."""
    first_time: datetime | None = None
    """Earliest start of a recording by the recorder's clock, without time zone; None if no start is known."""
    last_time: datetime | None = None
    """Latest start of a recording by the recorder's clock, without time zone; None if no start is known."""
    locations: set[tuple[float, float]] = field(default_factory=set)
    """Locations (latitude, longitude) of the recordings in degrees, rounded to three decimals."""
    classes: dict[str, ClassSummary] = field(default_factory=dict)
    """Summary of each detected class by scientific name."""

    def of_kind(self, kind: str) -> list[ClassSummary]:
        """Return the classes of a kind ("species" or "sound") by falling number of detections, then by common name.

        Classes of which the range model expects no detection at all come last, in the same order.
        """
        classes = [c for c in self.classes.values() if c.kind == kind]
        return sorted(classes, key=lambda c: (c.n_out_of_range == c.n_detections, -c.n_detections, c.common_name))


def summarize(tables: Iterable[tuple[Path, RecordingTable]]) -> RunSummary:
    """Summarize the tables of an identification run.

    Memory grows with the number of classes, not with the number of recordings.

    Args:
        tables: file and table of each recording, read lazily.
    """
    summary = RunSummary()
    for path, table in tables:
        summary.n_recordings += 1
        summary.duration_s += table.duration_s
        _add_metadata(summary, table)
        columns = DetectionColumns.from_detections(table.detections)
        speech: list[Detection | Segment] = list(columns.select(_find_speech(columns)))
        speech += () if table.is_silenced else table.speech
        seen: set[str] = set()
        for k, (name, common_name, kind, start_s, score, in_range) in enumerate(columns.rows(*_COUNTED)):
            summary.n_detections += 1
            entry = summary.classes.setdefault(name, ClassSummary(name, common_name, kind))
            time = table.clock_time(start_s)
            entry.n_detections += 1
            entry.n_out_of_range += in_range is False
            entry.n_recordings += name not in seen
            if time is not None:
                entry.by_hour[time.hour] += 1
            seen.add(name)
            if kind == "species" and score > entry.best_score and not _overlaps(detection := columns[k], speech):
                channel = detection.channel or table.channel
                entry.best = DetectionClip(path, detection, time, table.duration_s, table.silenced, channel)
    return summary


def _add_metadata(summary: RunSummary, table: RecordingTable) -> None:
    metadata = table.metadata
    if metadata.latitude is not None and metadata.longitude is not None:
        summary.locations.add((round(metadata.latitude, 3), round(metadata.longitude, 3)))
    if metadata.start_time is not None:
        summary.has_clock_time = True
        moment = metadata.start_time.replace(tzinfo=None)
        summary.first_time = min(summary.first_time or moment, moment)
        summary.last_time = max(summary.last_time or moment, moment)


def _find_speech(columns: DetectionColumns) -> npt.NDArray[np.bool_]:
    """Return a mask that is True for detections of human voices [detections]."""
    names = columns.rows("kind", "scientific_name")
    is_speech = [kind == "sound" and name.lower().startswith(("human", "speech")) for kind, name in names]
    return np.array(is_speech, bool)


def _overlaps(detection: Detection, others: Sequence[Detection | Segment]) -> bool:
    """Return True if the clip of `detection`, with its margins, overlaps one of `others` (human speech)."""
    return any(
        o.start_s < detection.end_s + CLIP_MARGIN_S and o.end_s > detection.start_s - CLIP_MARGIN_S for o in others
    )
