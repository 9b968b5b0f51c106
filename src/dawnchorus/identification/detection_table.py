"""From the hits of a recording to its table of detections."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from dawnchorus.audio.metadata import describe_other_location
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.identification.input_tables import DatedMetadata
from dawnchorus.identification.options import Options
from dawnchorus.identification.output_paths import printable
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.weeks import week_of
from dawnchorus.inference.results import ScoredChannel, ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import apply_calibration
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable, Segment


@dataclass(frozen=True)
class TableBuilder:
    """Makes the table of a scored recording."""

    bundle: Bundle
    plan: WindowPlan
    options: Options
    range_filter: RangeFilter | None
    metadata_by_path: dict[Path, RecordingMetadata]
    """Locations and times of a `--recordings` table, by absolute path; they precede the file's metadata."""

    names: Mapping[Path, str] = field(default_factory=dict)
    """Names of recordings that are not called by their path."""

    def name(self, path: Path) -> str:
        """Return the name of a recording in tables and messages."""
        return self.names.get(path) or printable(path)

    def build(self, scored: ScoredRecording) -> RecordingTable:
        """Build the detections, with time and location, ordered by start, then by falling score."""
        metadata = self.metadata(scored.path, scored.metadata)
        week = self._week(scored.path, metadata)
        expected = self._expected(metadata, week)
        options = self.options
        rows = [row for channel in scored.channels for row in self._rows(scored, channel, expected)]
        if options.merge:
            rows = merge_events(rows)
        else:
            rows.sort(key=lambda r: (r.start_s, -r.score))
        return RecordingTable(
            recording=self.name(scored.path),
            duration_s=scored.duration_s,
            rate_hz=scored.info.rate_hz,
            metadata=metadata,
            week=week,
            detections=tuple(rows),
            speech=scored.speech if options.speech is not None else (),
            is_silenced=options.speech in ("blank", "drop"),
            channel="mean" if options.channel == "each" else options.channel,
            n_channels=len(scored.channels) if options.channel == "each" else None,
        )

    def count_dropped(self, scored: ScoredRecording) -> Counter[str]:
        """Count the detections that are left out of a recording's table as out of range, by scientific name."""
        metadata = self.metadata(scored.path, scored.metadata)
        expected = self._expected(metadata, self._week(scored.path, metadata))
        if expected is None or not self.options.drop_out_of_range:
            return Counter()
        indices = (index for channel in scored.channels for _, index, _ in channel.hits.tolist())
        return Counter(self.bundle.labels[index].scientific_name for index in indices if expected[index] is False)

    def _week(self, path: Path, metadata: RecordingMetadata) -> int | None:
        """Return the week that is given, else that of the recording's day."""
        day = self._given_day(path) or metadata.start_time
        return self.options.week or (week_of(day) if day is not None else None)

    def _rows(
        self, scored: ScoredRecording, channel: ScoredChannel, expected: list[bool | None] | None
    ) -> Iterator[Detection]:
        """Yield the detections in one channel; `expected` has what the range filter says of each class."""
        labels, calibration = self.bundle.labels, self.bundle.info.calibration
        options = self.options
        for window, index, score in channel.hits.tolist():
            in_range = None if expected is None else expected[index]
            label, kept_s = labels[index], self.plan.start_s(window)
            start_s = channel.kept.start_s(kept_s)
            end_s = max(min(channel.kept.end_s(kept_s + self.plan.window_s), scored.duration_s), start_s)
            human_voice = None if options.speech is None else _has_any(scored.speech, start_s, end_s)
            if (options.drop_out_of_range and in_range is False) or (options.speech == "drop" and human_voice):
                continue
            yield Detection(
                start_s=start_s,
                end_s=end_s,
                scientific_name=label.scientific_name,
                common_name=label.common_name,
                kind=label.kind,
                score=score,
                in_range=in_range,
                probability=None if calibration is None else float(apply_calibration(np.array(score), calibration)),
                human_voice=human_voice,
                channel=channel.channel,
            )

    def metadata(self, path: Path, own: RecordingMetadata) -> RecordingMetadata:
        """Return time and location of a recording, from the table, the file and the options together."""
        given = self.metadata_by_path.get(Path(os.path.abspath(path)), RecordingMetadata())
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

    def _describe_other_week(self, metadata: RecordingMetadata, day: date | None) -> str | None:
        """Return a sentence if the week that is given is not that of the recording's day."""
        week = self.options.week
        if week is None or day is None or week_of(day) == week:
            return None
        return f"week {week} is given, {metadata.source or 'the file'} says {day:%Y-%m-%d} (week {week_of(day)})"

    def _given_day(self, path: Path) -> date | None:
        """Return the day of a recording of which a table tells no time."""
        given = self.metadata_by_path.get(Path(os.path.abspath(path)))
        return given.day if isinstance(given, DatedMetadata) else None

    def _expected(self, metadata: RecordingMetadata, week: int | None) -> list[bool | None] | None:
        if self.range_filter is None or metadata.latitude is None or metadata.longitude is None:
            return None
        return self.range_filter.expected(latitude=metadata.latitude, longitude=metadata.longitude, week=week)


def _has_any(segments: Sequence[Segment], start_s: float, end_s: float) -> bool:
    return any(segment.start_s < end_s and segment.end_s > start_s for segment in segments)


_GAP_S = timedelta(milliseconds=1).total_seconds()
"""Windows that lie this close together touch: their ends are sums of rounded seconds."""


def merge_events(rows: list[Detection]) -> list[Detection]:
    """Join detections of one class in one channel whose windows touch or overlap.

    An event has the best score of its windows.
    """
    open_events: dict[tuple[str, int | None], Detection] = {}
    events: list[Detection] = []
    for row in sorted(rows, key=lambda r: r.start_s):
        key = (row.scientific_name, row.channel)
        event = open_events.get(key)
        if event is not None and row.start_s <= event.end_s + _GAP_S:
            open_events[key] = replace(
                event,
                end_s=max(event.end_s, row.end_s),
                score=max(event.score, row.score),
                probability=max((p for p in (event.probability, row.probability) if p is not None), default=None),
                human_voice=event.human_voice or row.human_voice,
            )
            continue
        if event is not None:
            events.append(event)
        open_events[key] = row
    events.extend(open_events.values())
    return sorted(events, key=lambda r: (r.start_s, -r.score, r.scientific_name, r.channel or 0))
