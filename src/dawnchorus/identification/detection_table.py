"""Conversion of the hits of a scored recording to its table of detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.metadata import describe_other_location
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.formats.columns import DETECTION_COLUMNS
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.identification.options import ALL_YEAR, Options
from dawnchorus.identification.output_paths import current_folder, printable
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.weeks import week_of
from dawnchorus.inference.results import ScoredChannel, ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import apply_calibration
from dawnchorus.storage.paths import absolute_path
from dawnchorus.types import RecordingMetadata, RecordingTable, Segment

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TableBuilder:
    """Builder of the detection tables of a run."""

    bundle: Bundle
    """Model that scored the recordings."""
    plan: WindowPlan
    """Length and spacing of the windows, from which the times of detections follow."""
    options: Options
    """Options of the run."""
    range_filter: RangeFilter | None
    """Range filter; None if species are not checked for range."""
    metadata_by_path: dict[Path, RecordingMetadata]
    """Location and time of recordings by absolute path, as given by the user.

    They take precedence over the files' metadata.
    """

    names: Mapping[Path, str] = field(default_factory=dict)
    """Names of recordings in tables, by path; other recordings are named by their path."""

    folder: str = field(default_factory=current_folder)
    """Folder that relative paths refer to, even if the process changes its working directory."""

    def name(self, path: Path) -> str:
        """Return the name of a recording in tables and messages: that in `names`, or else its path."""
        return self.names.get(path) or printable(path)

    def build(self, scored: ScoredRecording) -> RecordingTable:
        """Return the detection table of a recording, ordered by start and descending score.

        With the option `merge`, its rows are events; see `merge_events`. Detections of species out of range are left
        out with the option `drop_out_of_range`, and detections in human speech with `speech="drop"`.
        """
        metadata = self.metadata(scored.path, scored.metadata)
        week = self._week(scored.path, metadata)
        expected = self._expected(metadata, week)
        options = self.options
        by_channel = [self._detect(scored, channel, expected) for channel in scored.channels]
        detections = DetectionColumns.concatenate(by_channel)
        if options.merge:
            detections = merge_events(detections)
        else:
            detections = detections.select(np.lexsort((-detections.column("score"), detections.column("start_s"))))
        return RecordingTable(
            recording=self.name(scored.path),
            duration_s=scored.duration_s,
            rate_hz=scored.info.rate_hz,
            metadata=metadata,
            week=week,
            detections=detections,
            speech=scored.speech if options.speech is not None else (),
            is_silenced=options.speech in ("blank", "drop"),
            channel="mean" if options.channel == "each" else options.channel,
            n_channels=len(scored.channels) if options.channel == "each" else None,
        )

    def count_dropped(self, scored: ScoredRecording) -> Counter[str]:
        """Count, by scientific name, the detections of a recording that are left out as out of range.

        They are counted before detections are merged, and also if they overlap speech. Empty without a range filter or
        location, or if the option `drop_out_of_range` is False.
        """
        metadata = self.metadata(scored.path, scored.metadata)
        expected = self._expected(metadata, self._week(scored.path, metadata))
        if expected is None or not self.options.drop_out_of_range:
            return Counter()
        indices = (index for channel in scored.channels for _, index, _ in channel.hits.tolist())
        return Counter(self.bundle.labels[index].scientific_name for index in indices if expected[index] is False)

    def _week(self, path: Path, metadata: RecordingMetadata) -> int | None:
        """Return the week (1 to 48) in the options, or else that of the recording's day; None for all year."""
        day = self._given_day(path) or metadata.start_time
        if self.options.week is not None:
            return self.options.week or None
        return week_of(day) if day is not None else None

    @cached_property
    def _classes(self) -> dict[str, npt.NDArray[np.object_]]:
        """Scientific name, common name and kind of each class of the model [n_classes]."""
        names = ("scientific_name", "common_name", "kind")
        return {name: np.array([getattr(label, name) for label in self.bundle.labels], object) for name in names}

    def _detect(
        self, scored: ScoredRecording, channel: ScoredChannel, expected: list[bool | None] | None
    ) -> DetectionColumns:
        """Return the detections in one channel.

        `expected` has for each class if it is in range (None if unknown); None without a range filter.
        """
        calibration, options = self.bundle.info.calibration, self.options
        index, score = channel.hits["class"], channel.hits["score"].astype(np.float64)
        start_s, end_s = self._times(scored, channel)
        columns: dict[str, npt.NDArray[Any]] = {"start_s": start_s, "end_s": end_s, "score": score}
        columns |= {name: values[index] for name, values in self._classes.items()}
        if expected is not None:
            columns["in_range"] = np.array([-1 if each is None else each for each in expected], np.int8)[index]
        if options.speech is not None:
            columns["human_voice"] = _has_any(scored.speech, start_s, end_s)
        if calibration is not None:
            columns["probability"] = apply_calibration(score, calibration)
        if channel.channel is not None:
            columns["channel"] = np.full(len(index), channel.channel)
        is_kept = np.ones(len(index), bool)
        if options.drop_out_of_range and expected is not None:
            is_kept &= columns["in_range"] != 0
        if options.speech == "drop":
            is_kept &= ~columns["human_voice"]
        return DetectionColumns({name: values[is_kept] for name, values in columns.items()})

    def _times(self, scored: ScoredRecording, channel: ScoredChannel) -> tuple[Seconds, Seconds]:
        """Return start and end of each hit in the recording, in seconds."""
        windows, position = np.unique(channel.hits["window"], return_inverse=True)
        times = [channel.window_times(window, self.plan, scored.duration_s) for window in windows.tolist()]
        start_s, end_s = np.array(times, np.float64).reshape(-1, 2)[position].T
        return start_s, end_s

    def metadata(self, path: Path, own: RecordingMetadata) -> RecordingMetadata:
        """Return time and location of a recording, given its path and the metadata in its file (`own`).

        The location is that of the options, or else of `metadata_by_path`, or else of the file; the time is that of
        `metadata_by_path`, or else of the file. The time of the file is dropped if `metadata_by_path` has a date
        without a time, and the file is of another day. Contradictions are described in `RecordingMetadata.conflict`.
        """
        given = self.metadata_by_path.get(self._absolute(path), RecordingMetadata())
        day = self._given_day(path)
        is_same_day = day is None or own.start_time is None or own.start_time.date() == day
        metadata = RecordingMetadata(
            start_time=given.start_time or (own.start_time if is_same_day else None),
            latitude=own.latitude if given.latitude is None else given.latitude,
            longitude=own.longitude if given.longitude is None else given.longitude,
            recorder=own.recorder,
            source=given.source or own.source,
            conflict=None if given.start_time else own.conflict,
            unread=None if given.start_time and given.latitude is not None else own.unread,
        )
        if self.options.latitude is not None:
            metadata = replace(metadata, latitude=self.options.latitude, longitude=self.options.longitude)
        own_day = day or metadata.start_time
        conflicts = (
            metadata.conflict,
            describe_other_location(own, metadata),
            self._describe_other_week(metadata, own_day),
        )
        return replace(metadata, conflict="; ".join(filter(None, conflicts)) or None)

    def _absolute(self, path: Path) -> Path:
        return absolute_path(path, self.folder)

    def _describe_other_week(self, metadata: RecordingMetadata, day: date | None) -> str | None:
        """Return a sentence if the week in the options differs from that of the recording's day; else None."""
        week = self.options.week
        if week in (None, ALL_YEAR) or day is None or week_of(day) == week:
            return None
        return f"week {week} is given, {metadata.source or 'the file'} says {day:%Y-%m-%d} (week {week_of(day)})"

    def _given_day(self, path: Path) -> date | None:
        """Return the day of a recording for which the user's table has a date without a time; else None."""
        given = self.metadata_by_path.get(self._absolute(path))
        return None if given is None else given.day

    def _expected(self, metadata: RecordingMetadata, week: int | None) -> list[bool | None] | None:
        if self.range_filter is None or metadata.latitude is None or metadata.longitude is None:
            return None
        return self.range_filter.expected(latitude=metadata.latitude, longitude=metadata.longitude, week=week)


def _has_any(segments: Sequence[Segment], start_s: Seconds, end_s: Seconds) -> npt.NDArray[np.bool_]:
    """Return the mask of the intervals that overlap a segment."""
    ordered = sorted(segments, key=lambda segment: segment.start_s)
    starts_s = np.array([segment.start_s for segment in ordered])
    latest_s = np.maximum.accumulate([-np.inf, *(segment.end_s for segment in ordered)])
    n_before = np.searchsorted(starts_s, end_s, side="left")
    return latest_s[n_before] > start_s  # of those that begin before it ends, the latest end


_GAP_S = timedelta(milliseconds=1).total_seconds()
"""Maximum gap in seconds between windows that count as adjacent, for rounding errors of their times."""


def merge_events(detections: DetectionColumns) -> DetectionColumns:
    """Merge overlapping or adjacent (up to 1 ms apart) detections of the same class and channel to events.

    An event has the start of its first window, the latest end, and the highest score and probability. `human_voice` is
    True if it is True in any window, else None if it is None in any. All else is taken from the first window. Events
    are ordered by start and descending score.
    """
    if not len(detections):
        return detections
    _, name = np.unique(detections.column("scientific_name"), return_inverse=True)
    order = np.lexsort((detections.column("start_s"), detections.column("channel"), name))
    rows, name = detections.select(order), name[order]
    first = np.flatnonzero(_begins_event(rows, name))
    voice = rows.column("human_voice")
    columns = {column.name: rows.column(column.name)[first] for column in DETECTION_COLUMNS} | {
        "end_s": np.maximum.reduceat(rows.column("end_s"), first),
        "score": np.maximum.reduceat(rows.column("score"), first),
        "probability": np.fmax.reduceat(rows.column("probability"), first),
        "human_voice": np.where(
            np.maximum.reduceat(voice, first) == 1, 1, np.minimum.reduceat(voice, first)
        ),  # unknown in one window is unknown, unless there is one in another
    }
    events = DetectionColumns(columns)
    return events.select(np.lexsort((columns["channel"], name[first], -columns["score"], columns["start_s"])))


def _begins_event(rows: DetectionColumns, name: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Return the mask of the rows that start an event; rows are sorted by class, channel and start."""
    start_s, end_s, channel = rows.column("start_s"), rows.column("end_s"), rows.column("channel")
    is_other = np.append(True, (np.diff(name) != 0) | (np.diff(channel) != 0))
    # One maximum for all classes and channels: each begins behind the end of the one before.
    shift_s = (np.cumsum(is_other) - 1) * (end_s.max() + 1.0)
    latest_s = np.append(-np.inf, np.maximum.accumulate(end_s + shift_s)[:-1])
    return np.asarray(is_other | (start_s + shift_s > latest_s + _GAP_S))
