"""Tables of a run's analyses: rows of all recordings, and their summaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

import numpy as np

from dawnchorus.audio.sample_analyses import Table, build_table
from dawnchorus.inference.analyses.base import Analysis, AnalyzedRecording


def build_tables(analysis: Analysis, recordings: Iterable[AnalyzedRecording]) -> Iterator[tuple[str, Iterable[Table]]]:
    """Yield (name suffix, pieces) for each table of an analysis; the suffix of the main table is ""."""
    if analysis.summarize is None:
        yield "", (_add_recording(recording) for recording in recordings)
        return
    for name, table in analysis.summarize(recordings).items():
        yield name, [table]


def _add_recording(recording: AnalyzedRecording) -> Table:
    """Return the rows of a recording, with its name, and the clock time of their `start_s` or its start."""
    rows = recording.rows
    names = rows.dtype.names or ()
    start = recording.metadata.start_time
    starts_s = rows["start_s"].tolist() if "start_s" in names else [0.0] * len(rows)
    times = ["" if start is None else (start + timedelta(seconds=each)).isoformat() for each in starts_s]
    columns = {"recording": np.full(len(rows), recording.recording), "start_time": np.array(times, str)}
    return build_table(columns | {name: rows[name] for name in names})
