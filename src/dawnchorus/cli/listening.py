"""What a model hears in the recordings of a data set, for the verbs that ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.identify import Options, identify
from dawnchorus.models.store import ModelStore
from dawnchorus.types import RecordingTable

HEARD_SCORE = 0.05
"""Smallest score that is looked at."""

CALL_SCORE = 0.3
"""Smallest score of a window from which a clip may be taken as the species' call."""


def best_scores(table: RecordingsTable, model: str, store: ModelStore, workers: int) -> dict[str, dict[str, float]]:
    """By recording_id, the highest score of each species heard, where the model knows the labelled one."""
    best: dict[str, dict[str, float]] = {}
    for row, found in _heard(table, model, store, workers):
        scores = best.setdefault(row.recording_id, {})
        for detection in found.detections:
            name = detection.scientific_name
            scores[name] = max(scores.get(name, 0.0), detection.score)
    return best


def call_times(
    table: RecordingsTable, model: str, store: ModelStore, workers: int, *, out: Path
) -> dict[str, list[float]]:
    """By recording_id, the middles in seconds of the windows in which the labelled species is heard, best first.

    What is heard is kept in the table `out`, so that it is not listened to again.
    """
    calls: dict[str, list[float]] = {}
    for row, found in _heard(table, model, store, workers, out=out):
        own = [d for d in found.detections if d.scientific_name == row.scientific_name and d.score >= CALL_SCORE]
        own.sort(key=lambda d: -d.score)
        calls[row.recording_id] = [round((d.start_s + d.end_s) / 2, 3) for d in own]
    return calls


def _heard(
    table: RecordingsTable, model: str, store: ModelStore, workers: int, *, out: Path | None = None
) -> Iterator[tuple[RecordingRow, RecordingTable]]:
    by_path = {table.file(row): row for row in table.rows if row.scientific_name}
    options = Options(min_score=HEARD_SCORE)
    resume = out is not None
    run = identify(list(by_path), options, model=model, out=out, resume=resume, store=store, workers=workers)
    known = run.bundle.class_by_scientific_name
    for path, row in by_path.items():
        found = run.table(path)
        if found is not None and row.scientific_name in known:
            yield row, found
