"""Detections of a model in the recordings of a data set, for label checks and the selection of clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dawnchorus.data.check import ModelScores
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.identification import Options, identify
from dawnchorus.inference.model import Model
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.types import Detection, RecordingTable

LOWEST_SCORE = 0.05
"""Minimum score of detections that are compared with labels."""

CALL_SCORE = 0.3
"""Minimum score of a window to be selected as a clip of its species."""


DETECTIONS_NAME = "detections.parquet"
"""File, in the folder of clips, of the detections by which clips were selected."""

_OLD_DETECTIONS_NAME = "heard.parquet"
"""Name of that file before 2026-12."""


def model_scores(table: RecordingsTable, model: Model, workers: int) -> ModelScores:
    """Score the recordings with a main species, and return each species' highest-scoring detection in each of them.

    Detections below `LOWEST_SCORE` (0.05) are left out. `workers` is the number of cores to use.

    Raises:
        ModelError: the model cannot be run, or a score is not finite.
    """
    best: dict[str, dict[str, Detection]] = {}
    for row, table_ in _score_rows(table, model, workers):
        by_name = best.setdefault(row.recording_id, {})
        for detection in table_.detections:
            known = by_name.setdefault(detection.scientific_name, detection)
            if detection.score > known.score:
                by_name[detection.scientific_name] = detection
    return ModelScores(KnownClasses(model.labels), best)


def call_times(table: RecordingsTable, model: Model, workers: int, *, folder: Path) -> dict[str, list[float]]:
    """Return by recording_id the centers, in seconds, of windows in which the model detects the labeled species.

    The window with the highest score comes first; windows below the score `CALL_SCORE` (0.3) do not count. A recording
    in which no window reaches it has an empty list. Recordings that have no main species, that failed, or whose species
    is no class of the model, are left out. Detections are stored in `folder`, so that a later call does not score the
    recordings again.

    Args:
        table: the data set.
        model: the model.
        workers: number of cores to use.
        folder: the folder of the clips.

    Raises:
        InputError: the stored detections are of another model.
        ModelError: the model cannot be run, or a score is not finite.
        JournalDamagedError: the stored detections are damaged.
        OutputError: no space, or no permission.
        BusyError: another process is writing the detections.
    """
    out = folder / _OLD_DETECTIONS_NAME
    if not out.exists():
        out = folder / DETECTIONS_NAME
    calls: dict[str, list[float]] = {}
    known = model.bundle.class_by_scientific_name
    for row, table_ in _score_rows(table, model, workers, out=out):
        if row.scientific_name not in known:
            continue
        own = [d for d in table_.detections if d.scientific_name == row.scientific_name and d.score >= CALL_SCORE]
        own.sort(key=lambda d: -d.score)
        calls[row.recording_id] = [round((d.start_s + d.end_s) / 2, 3) for d in own]
    return calls


def _score_rows(
    table: RecordingsTable, model: Model, workers: int, *, out: Path | None = None
) -> Iterator[tuple[RecordingRow, RecordingTable]]:
    rows = [row for row in table.rows if row.scientific_name]
    if not rows:
        return
    paths = list(dict.fromkeys(table.file(row) for row in rows))
    options = Options(min_score=LOWEST_SCORE)
    resume = out is not None
    run = identify(paths, options, model=model, out=out, resume=resume, workers=workers)
    for row in rows:
        table_ = run.table(table.file(row))
        if table_ is not None:
            yield row, table_
