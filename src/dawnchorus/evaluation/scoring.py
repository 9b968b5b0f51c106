"""Scores of a bundle for the recordings of a data set, with the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.cores import usable_cores
from dawnchorus.data.presence import NOT_KNOWN, PRESENT, Presence, PresenceArray, Secondary
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, species_of
from dawnchorus.errors import InputError
from dawnchorus.identification.options import Options
from dawnchorus.identification.output_paths import printable
from dawnchorus.identification.result import RunCounts
from dawnchorus.identification.score_filter import build_score_filter
from dawnchorus.inference.analyses.dense_scores import DenseScores
from dawnchorus.inference.analyses.windows import WindowAnalysis
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.inference.results import ScoredRecording
from dawnchorus.inference.scoring import score_recordings
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.types import Report, ignore_progress

FloatArray = npt.NDArray[np.float64]
Pool = Literal["mean", "max"]
NOTHING_LEFT = "nothing of it is left to score after the bundle's cleaning"


@dataclass(frozen=True)
class BestClass:
    """Class with the highest score in a recording."""

    index: int
    """Its index in the model's labels."""
    score: float


@dataclass(frozen=True)
class Scores:
    """Scores and ground truth of windows, and of recordings."""

    classes: tuple[str, ...]
    rows: tuple[RecordingRow, ...]
    """The recordings that were scored."""
    recording: npt.NDArray[np.int64]
    """[windows]: the number of the window's recording."""
    start_s: FloatArray
    window_s: float
    scores: FloatArray
    """[windows, classes]"""
    presence: PresenceArray
    """[windows, classes]: `PRESENT`, `ABSENT` or `NOT_KNOWN` of `dawnchorus.data.presence`."""
    failures: dict[str, str]
    """Reasons why other recordings could not be scored, by recording_id."""
    unlabelled: tuple[str, ...] = ()
    """The recording_id of each recording that was left out because it is unlabelled."""
    secondary: Secondary = "count"
    unknown_species: tuple[tuple[str, ...], ...] = ()
    """[recordings]: the species of each recording that the model does not know; empty: it knows all of them."""
    best: tuple[BestClass | None, ...] = ()
    """[recordings]: the class with the highest score, of all that the model knows; None: none reaches its threshold."""

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        """Mask of present species [windows, classes]."""
        return np.asarray(self.presence == PRESENT)

    @property
    def known_scores(self) -> FloatArray:
        """Scores [windows, classes]; NaN where presence is unknown."""
        return np.where(self.presence == NOT_KNOWN, np.nan, self.scores)

    def by_recording(self, pool: Pool) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Return scores and ground truth of each recording [recordings, classes], pooled over windows.

        A species that is in none of the windows where it is known, and unknown in others, is unknown: NaN.
        """
        return pool_windows(self.known_scores, self.truth, self.recording, n_recordings=len(self.rows), pool=pool)


def pool_windows(
    scores: FloatArray,
    truth: npt.NDArray[np.bool_],
    recording: npt.NDArray[np.int64],
    *,
    n_recordings: int,
    pool: Pool = "mean",
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Pool scores and ground truth of windows [windows, classes] to recordings [recordings, classes].

    `recording` [windows] is the number of the window's recording. A species that is in none of the windows where it is
    known, and not known in others, is not known: its score is NaN.
    """
    shape = (n_recordings, scores.shape[1])
    pooled, n_known = np.zeros(shape), np.zeros(shape, int)
    truth_of_recordings = np.zeros(shape, bool)
    np.maximum.at(truth_of_recordings, recording, truth)
    np.add.at(n_known, recording, (~np.isnan(scores)).astype(int))
    if pool == "max":
        np.maximum.at(pooled, recording, np.nan_to_num(scores))
    else:
        np.add.at(pooled, recording, np.nan_to_num(scores))
        pooled /= n_known.clip(min=1)
    n_windows = np.bincount(recording, minlength=n_recordings)[:, None]
    pooled[(n_known < np.where(truth_of_recordings, 1, n_windows)) & (n_windows > 0)] = np.nan
    return pooled, truth_of_recordings


def score_data_set(
    bundle: Bundle,
    table: RecordingsTable,
    rows: Sequence[RecordingRow],
    *,
    store: ModelStore,
    n_workers: int | None = None,
    classes: Sequence[str] | None = None,
    overlap_s: float = 0.0,
    tta_shifts: int = 1,
    secondary: Secondary = "count",
    report: Report = ignore_progress,
) -> Scores:
    """Score recordings with the inference engine.

    `classes` are those to look at (default: the species of `rows` that the bundle knows; with `secondary` "count" the
    secondary ones as well). Annotations of a recording say all that is in it, whatever `secondary` is. Recordings of
    which nobody said what is in them are left out, unless `classes` are given, as for a submission. Those of species
    that the bundle does not know are scored: none of its classes is in them.

    Raises:
        InputError: the bundle knows none of the species, or all recordings are unlabelled.
    """
    unlabelled = tuple(row.recording_id for row in rows if row.is_unlabelled) if classes is None else ()
    if unlabelled:
        left_out = set(unlabelled)
        rows = [row for row in rows if row.recording_id not in left_out]
    if not rows:
        raise InputError(
            f"expected recordings with a species, annotations or background, but all {len(unlabelled)} "
            f"are unlabelled (as {unlabelled[0] if unlabelled else 'none'}). Annotate them, or name their species.",
            subject=table.folder,
        )
    known = bundle.class_by_scientific_name
    named = {name for row in rows for name in _species_in(row, secondary)}
    if classes is None and not named:  # only background: whatever the model knows is not there
        classes = [label.scientific_name for label in bundle.labels if label.kind == "species"]
    wanted = tuple(name for name in (classes or sorted(named)) if name in known)
    if not wanted:
        raise InputError(
            f"the model {bundle.info.name} knows none of its {len(named)} species. Names are "
            f"scientific; the model's are in its labels.csv.",
            subject=table.folder,
        )
    by_path = {table.file(row): row for row in rows}
    windows = WindowPlan.from_seconds(
        rate_hz=bundle.info.sample_rate_hz, window_s=bundle.info.window_s, overlap_s=overlap_s
    )
    analyses: dict[str, WindowAnalysis] = {
        "scores": DenseScores(np.array([known[name] for name in wanted])),
        "hits": build_score_filter(bundle, Options(min_score=0.0, top=1)),
    }
    scored_by_path, reasons = _score_recordings(
        list(by_path),
        LoadedModel.open(bundle, store.folder, tta_shifts=tta_shifts),
        ScoringPlan(windows=windows, analyses=analyses),
        n_workers=n_workers or usable_cores(),
        report=report,
    )
    presence = Presence(wanted, secondary=secondary)
    scored: list[tuple[RecordingRow, ScoredRecording]] = []
    failures: dict[str, str] = {}
    for path, row in by_path.items():
        result = scored_by_path.get(path)
        if result is None:
            failures[row.recording_id] = printable(reasons[path])
        elif not len(result.channels[0].tables["scores"]):
            failures[row.recording_id] = NOTHING_LEFT
        else:
            scored.append((row, result))
    if not scored:
        first = next(iter(failures.items()), None)
        why = f" ({first[0]}: {first[1]})" if first else ""
        raise InputError(f"none of its {len(rows)} recordings could be scored{why}.", subject=table.folder)
    values = [result.channels[0].tables["scores"]["scores"] for _, result in scored]
    times = [
        [result.channels[0].window_times(k, windows, result.duration_s) for k in range(len(each))]
        for (_, result), each in zip(scored, values, strict=True)
    ]
    present = [
        presence.between(row, start_s, end_s)
        for (row, _), each in zip(scored, times, strict=True)
        for start_s, end_s in each
    ]
    return Scores(
        classes=wanted,
        rows=tuple(row for row, _ in scored),
        recording=np.repeat(np.arange(len(scored)), [len(each) for each in values]),
        start_s=np.array([start_s for each in times for start_s, _ in each]),
        window_s=bundle.info.window_s,
        scores=np.concatenate(values, dtype=np.float64),
        presence=np.stack(present),
        failures=failures,
        unlabelled=unlabelled,
        secondary=secondary,
        unknown_species=tuple(
            tuple(name for name in _species_in(row, secondary) if name not in known) for row, _ in scored
        ),
        best=tuple(_find_best(result.channels[0].hits) for _, result in scored),
    )


def _score_recordings(
    paths: list[Path],
    model: LoadedModel,
    plan: ScoringPlan,
    *,
    n_workers: int,
    report: Report,
) -> tuple[dict[Path, ScoredRecording], dict[Path, str]]:
    """Return the results by path, and the reasons of failures."""
    counts = RunCounts(len(paths))
    scored: dict[Path, ScoredRecording] = {}
    reasons: dict[Path, str] = {}
    for step in score_recordings(paths, model, plan, n_workers=n_workers):
        if step.scored is not None:
            scored[step.scored.path] = step.scored
        if step.failed is not None:
            reasons[step.failed.path] = step.failed.reason
        counts = counts.after(step, plan.windows)
        report(counts.as_progress("scoring"))
    return scored, reasons


def _find_best(hits: npt.NDArray[np.void]) -> BestClass | None:
    """Return the class of the hit with the highest score; of equal ones, of the first."""
    if not len(hits):
        return None
    hit = hits[np.argmax(hits["score"])]
    return BestClass(int(hit["class"]), float(hit["score"]))


def _species_in(row: RecordingRow, secondary: Secondary) -> list[str]:
    """Return the species that are present in the recording, in alphabetical order."""
    others = row.secondary if secondary == "count" and not row.is_annotated else ()
    return sorted({*species_of([row]), *others})
