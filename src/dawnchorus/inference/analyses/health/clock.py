"""Detection of jumps of a recorder's clock from the start times and lengths of its recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import PurePath

import numpy as np

TOLERANCE_S = 5.0
"""Tolerance in seconds: recorders start some seconds late, and pause while they write."""

RESET_S = 180 * 86_400
"""Minimum pause between two recordings that means that the clock was reset, or set for the first time."""

MIN_INTERVALS, SCHEDULE_SHARE, MAX_OFF_SCHEDULE = 8, 0.75, 2
"""Thresholds for a schedule: minimum number of intervals between starts, share of equal ones, maximum number of jumps.
More deviations from the usual interval are taken for a part of the schedule.
"""


@dataclass(frozen=True)
class TimedRecording:
    """Name, start and duration of a recording."""

    recording: str
    """Name of the recording: its path."""
    start_time: datetime
    """Clock time of the first sample; in the recorder's local time if it has no time zone."""
    duration_s: float
    """Duration in seconds."""

    @property
    def start(self) -> datetime:
        """Start in UTC, or in the recorder's local time if its zone is unknown; a `datetime` without `tzinfo`."""
        is_aware = self.start_time.tzinfo is not None
        return (self.start_time.astimezone(UTC) if is_aware else self.start_time).replace(tzinfo=None)

    @property
    def end(self) -> datetime:
        """End of the recording, in the same zone as `start`; a `datetime` without `tzinfo`."""
        return self.start + timedelta(seconds=self.duration_s)


def find_jumps(recordings: Sequence[TimedRecording]) -> list[str]:
    """Return a phrase for each jump of a recorder's clock, of more than `TOLERANCE_S` seconds.

    There are four kinds of jumps, and phrases are in the order of kinds. A recording starts before the previous one (by
    name) of its folder, or before the previous one (by time) ends; or it follows a pause of more than `RESET_S` seconds
    (180 days); or the time between two starts is not a multiple of the usual interval, if most intervals are usual. A
    recording with several kinds of jumps has a phrase for each.

    Args:
        recordings: recordings of one recorder, ordered by name.
    """
    in_time = sorted(recordings, key=lambda recording: recording.start)
    return [*_steps_back(recordings), *_overlaps(in_time), *_resets(in_time), *_off_schedule(in_time)]


def _steps_back(recordings: Sequence[TimedRecording]) -> Iterator[str]:
    for first, second in pairwise(recordings):
        back_s = (first.start - second.start).total_seconds()
        if back_s > TOLERANCE_S and PurePath(first.recording).parent == PurePath(second.recording).parent:
            yield f"{_name(second)} starts {_length(back_s)} before {_name(first)}"


def _overlaps(in_time: Sequence[TimedRecording]) -> Iterator[str]:
    """Yield a phrase for each recording that starts within another one.

    Recordings with equal starts are copies, or clips of one recording, and no sign of a jump.
    """
    for first, second in pairwise(in_time):
        overlap_s = (first.end - second.start).total_seconds()
        if overlap_s > TOLERANCE_S and (second.start - first.start).total_seconds() > TOLERANCE_S:
            yield f"{_name(second)} starts {_length(overlap_s)} before {_name(first)} ends"


def _resets(in_time: Sequence[TimedRecording]) -> Iterator[str]:
    for first, second in pairwise(in_time):
        pause_s = (second.start - first.end).total_seconds()
        if pause_s > RESET_S:
            yield f"{_length(pause_s)} between {_name(first)} and {_name(second)}"


def _off_schedule(in_time: Sequence[TimedRecording]) -> Iterator[str]:
    intervals_s = np.array([(second.start - first.start).total_seconds() for first, second in pairwise(in_time)])
    if len(intervals_s) < MIN_INTERVALS:
        return
    usual_s = max(float(np.median(intervals_s)), 1.0)
    is_usual = np.abs(intervals_s - usual_s) <= TOLERANCE_S
    off_s = np.abs(intervals_s - usual_s * np.round(intervals_s / usual_s))
    is_jump = (off_s > TOLERANCE_S) & (intervals_s < RESET_S)
    if is_usual.mean() < SCHEDULE_SHARE or is_jump.sum() > MAX_OFF_SCHEDULE:
        return
    for index in np.flatnonzero(is_jump).tolist():
        away = _length(off_s[index])
        yield f"{_name(in_time[index + 1])} starts {away} off the interval of {_length(usual_s)}"


def _name(recording: TimedRecording) -> str:
    return PurePath(recording.recording).name


def _length(seconds: float) -> str:
    for unit_s, unit in ((365.25 * 86_400, "years"), (86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.0f} s"
