"""Tables of a run: recordings with their faults, and recorders with a verdict."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from dawnchorus.audio.sample_analyses import Table, build_table
from dawnchorus.inference.analyses.base import AnalyzedRecording, Tables
from dawnchorus.inference.analyses.health.clock import TimedRecording, find_jumps
from dawnchorus.inference.analyses.health.faults import (
    DEAD_STRETCHES,
    NO_SOUND,
    QUIET_DB,
    Row,
    describe_stretches,
    find_faults,
    verdict,
)

MIN_RECORDINGS, MIN_RECORDERS = 5, 3
"""Minimum number of recordings of a recorder, and of recorders, for a median to compare levels with."""

TABLES = ("", "recorders")
"""Suffixes of the tables' names: of the table of recordings, and of recorders."""

_PREFIX = re.compile(r"(?P<prefix>.+?)[_-]?(?<!\d)\d{8}(?!\d)")
"""Name of a recorder before the date in a file's name."""


@dataclass(frozen=True)
class _Recorder:
    """All recordings of one recorder: their rows in the table, one per channel, and start times."""

    name: str
    rows: list[Row]
    timed: list[TimedRecording]
    recordings: list[str]

    def level_db(self) -> float:
        return _median([row["level_dbfs"] for row in self.rows])


def summarize(recordings: Iterable[AnalyzedRecording]) -> Tables:
    """Return the tables of recordings (suffix "", one row per channel of each) and of recorders (suffix "recorders").

    A recorder is identified by the name in the recording's metadata, or else by the beginning of the file's name, both
    together with the folder. `AnalyzedRecording.rows` are those of `Health.finish`. docs/ANALYSES.md lists the columns.
    Without recordings, the tables have no columns.
    """
    recorders: dict[str, _Recorder] = {}
    rows: list[Row] = []
    for recording in recordings:
        name = _recorder_name(recording)
        recorder = recorders.setdefault(name, _Recorder(name, [], [], []))
        start_time = recording.metadata.start_time
        recorder.recordings.append(recording.recording)
        if start_time is not None:
            recorder.timed.append(TimedRecording(recording.recording, start_time, recording.duration_s))
        for values in _rows(recording.rows):
            row = {
                "recording": recording.recording,
                "recorder": name,
                "start_time": "" if start_time is None else start_time.isoformat(),
                "duration_s": recording.duration_s,
                **values,
            }
            rows.append(row)
            recorder.rows.append(row)
    for recorder in recorders.values():
        _compare_levels(recorder)
    for row in rows:
        row["verdict"] = verdict(list(find_faults(row).values()))
    tables = (rows, _recorder_rows(list(recorders.values())))
    return dict(zip(TABLES, map(_build_table, tables), strict=True))


def _recorder_name(recording: AnalyzedRecording) -> str:
    """Return a recorder's name, from the metadata or before the date in the file's name, and the folder."""
    path = PurePath(recording.recording)
    match = _PREFIX.match(path.name)
    name = recording.metadata.recorder or (match["prefix"].strip(" _-") if match else "")
    return " ".join(part for part in (name, f"({path.parent})") if part)


def _compare_levels(recorder: _Recorder) -> None:
    """Add to each row the difference between its level and the median of the recorder's rows of this channel."""
    for channel in {row["channel"] for row in recorder.rows}:
        rows = [row for row in recorder.rows if row["channel"] == channel]
        usual_db = _median([row["level_dbfs"] for row in rows]) if len(rows) >= MIN_RECORDINGS else math.nan
        for row in rows:
            row["level_difference_db"] = row["level_dbfs"] - usual_db


def _recorder_rows(recorders: list[_Recorder]) -> list[Row]:
    all_db = _median([recorder.level_db() for recorder in recorders]) if len(recorders) >= MIN_RECORDERS else math.nan
    return [_recorder_row(recorder, recorder.level_db() - all_db) for recorder in recorders]


def _recorder_row(recorder: _Recorder, difference_db: float) -> Row:
    durations_s = {row["recording"]: row["duration_s"] for row in recorder.rows}
    starts = sorted(recorder.timed, key=lambda timed: timed.start)
    jumps = find_jumps(recorder.timed)
    return {
        "recorder": recorder.name,
        "n_recordings": len(recorder.recordings),
        "duration_s": sum(durations_s.values()),
        "first_time": starts[0].start_time.isoformat() if starts else "",
        "last_time": starts[-1].start_time.isoformat() if starts else "",
        "level_dbfs": recorder.level_db(),
        "level_difference_db": difference_db,
        "n_faulty": len({row["recording"] for row in recorder.rows if find_faults(row)}),
        "dead_share": _mean(recorder.rows, "dead_share"),
        "clipped_share": _mean(recorder.rows, "clipped_share"),
        "rain_share": _mean(recorder.rows, "rain_share"),
        "wind_share": _mean(recorder.rows, "wind_share"),
        "n_clock_jumps": len(jumps),
        "verdict": verdict([*_count_faults(recorder), *_describe_level(difference_db), *_describe_jumps(jumps)]),
    }


def _count_faults(recorder: _Recorder) -> list[str]:
    """Return in words how many recordings have each fault, by channel if the recorder has several channels."""
    has_channels = any(row["channel"] > 1 for row in recorder.rows)
    counts: Counter[tuple[int, str]] = Counter()
    for row in recorder.rows:
        counts.update((row["channel"], name) for name in find_faults(row))
    n_all = len(recorder.recordings)
    ordered = sorted(counts.items(), key=lambda entry: (entry[0][1] != NO_SOUND.name, -entry[1], entry[0]))
    return [
        f"{f'channel {channel}: ' if has_channels else ''}{name} in {n} of {n_all} recordings"
        f"{_describe_stretches(recorder, channel) if name == DEAD_STRETCHES.name else ''}"
        for (channel, name), n in ordered
    ]


def _describe_stretches(recorder: _Recorder, channel: int) -> str:
    """Return in brackets the share of a recorder's time without sound, and the longest such stretch."""
    rows = [row for row in recorder.rows if row["channel"] == channel and DEAD_STRETCHES.name in find_faults(row)]
    longest_s = max(row["longest_dead_s"] for row in rows)
    total_s = sum(row["duration_s"] for row in recorder.rows if row["channel"] == channel)
    dead_s = sum(row["dead_share"] * row["duration_s"] for row in rows)
    return f" ({describe_stretches(dead_s / total_s, longest_s)})"


def _describe_level(difference_db: float) -> list[str]:
    return [f"{-difference_db:.0f} dB below the other recorders"] if difference_db <= -QUIET_DB else []


def _describe_jumps(jumps: list[str]) -> list[str]:
    return [f"clock jumps: {len(jumps)}, as {jumps[0]}"] if jumps else []


def _mean(rows: list[Row], name: str) -> float:
    """Return the mean of a share over the recordings, weighted by their lengths; NaN if no row has it."""
    values, weights = np.array([(row.get(name, math.nan), row["duration_s"]) for row in rows], float).reshape(-1, 2).T
    is_known = np.isfinite(values)
    return float(np.average(values[is_known], weights=weights[is_known])) if is_known.any() else math.nan


def _rows(table: Table) -> list[Row]:
    names = table.dtype.names or ()
    return [dict(zip(names, values, strict=True)) for values in table.tolist()]


def _build_table(rows: list[Row]) -> Table:
    return build_table({name: [row[name] for row in rows] for name in (rows[0] if rows else ())})


def _median(values: list[float]) -> float:
    """Return the median of the finite values; NaN if there are none."""
    finite = sorted(value for value in values if math.isfinite(value))
    n = len(finite)
    return (finite[(n - 1) // 2] + finite[n // 2]) / 2 if n else math.nan
