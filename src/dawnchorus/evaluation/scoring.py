"""Scoring of a data set's recordings by a bundle, together with the ground truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from dawnchorus.inference.analyses.other_models import OtherModelAnalysis
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

MAX_TOGETHER = 4
"""Maximum number of models that score in one pass of decoding, since all are in memory."""


@dataclass(frozen=True)
class BestClass:
    """Class with the highest score in a recording, among the classes that reach their threshold in the bundle."""

    index: int
    """Index of the class in the model's labels."""
    score: float
    """Highest score of the class in a window of the recording, 0 to 1."""


@dataclass(frozen=True)
class Scores:
    """Scores and ground truth of windows, and their pooling to recordings.

    Attributes:
        classes: scientific names, the columns of `scores`.
        start_s: start [windows] in the recording, in seconds.
        window_s: length of a window in seconds.
        secondary: treatment in `presence` of species that are named next to a recording's main species: "count" as
            present, or "mask" as not known.
    """

    classes: tuple[str, ...]
    rows: tuple[RecordingRow, ...]
    """The recordings that were scored."""
    recording: npt.NDArray[np.int64]
    """Index [windows] of each window's recording in `rows`."""
    start_s: FloatArray
    window_s: float
    scores: FloatArray
    """Scores [windows, classes], 0 to 1."""
    presence: PresenceArray
    """Presence [windows, classes]: `PRESENT`, `ABSENT` or `NOT_KNOWN` of `dawnchorus.data.presence`."""
    failures: dict[str, str]
    """Reasons by recording_id of recordings that could not be scored."""
    unlabeled: tuple[str, ...] = ()
    """recording_ids of recordings that were left out because they are unlabeled."""
    secondary: Secondary = "count"
    unknown_species: tuple[tuple[str, ...], ...] = ()
    """Species of each recording [recordings] that are no classes of the model; empty: no recording has any."""
    best: tuple[BestClass | None, ...] = ()
    """Best of all the model's classes in each recording [recordings]; None if no class reaches its threshold in the
    bundle (0 without one)."""

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        """True [windows, classes] for present species."""
        return np.asarray(self.presence == PRESENT)

    @property
    def known_scores(self) -> FloatArray:
        """Scores [windows, classes]; NaN where presence is not known."""
        return np.where(self.presence == NOT_KNOWN, np.nan, self.scores)

    def by_recording(self, pool: Pool) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Return scores and truth [recordings, classes], pooled over windows ("mean" or "max") by `pool_windows`."""
        return pool_windows(self.known_scores, self.truth, self.recording, n_recordings=len(self.rows), pool=pool)


def pool_windows(
    scores: FloatArray,
    truth: npt.NDArray[np.bool_],
    recording: npt.NDArray[np.int64],
    *,
    n_recordings: int,
    pool: Pool = "mean",
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Pool scores and truth of windows to scores and truth of recordings [recordings, classes].

    Only windows in which presence is known are pooled. If a species is present in no window, but its presence is not
    known in at least one, its score is NaN. A recording without windows has scores of 0.

    Args:
        scores: scores [windows, classes]; NaN where presence is not known.
        truth: True [windows, classes] for present species.
        recording: index [windows] of each window's recording, from 0.
        n_recordings: number of recordings.
        pool: "mean" or "max" of the scores over windows. The truth of a recording is True if that of any window is.
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
    """Score recordings with a bundle, and return scores and ground truth.

    Unlabeled recordings are left out, unless `classes` are given. Recordings of species that the bundle does not know
    are scored: all classes are absent. Recordings that could not be scored are in `Scores.failures`.

    Args:
        bundle: the bundle.
        table: the data set.
        rows: rows of `table`: the recordings to score.
        store: store of the built-in models, which has the speech detector for bundles that remove speech.
        n_workers: number of decoder processes; None: one per core.
        classes: scientific names of the classes to score; names that the bundle does not know are ignored. None: the
            species of `rows` that it knows, or all its species if the rows have none.
        overlap_s: overlap of neighboring windows in seconds.
        tta_shifts: number of time shifts for test-time augmentation; 1: none.
        secondary: treatment of species that are named next to the main species of a recording without annotations:
            "count" as present, or "mask" as not known.
        report: called with the progress.

    Raises:
        InputError: the bundle knows none of the species, there are no recordings, all are unlabeled, none could be
            scored, or the overlap is as long as the window.
        ModelError: the bundle cannot be loaded or run, or its scores are not finite.
        MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
    """
    (scores,) = score_together(
        [bundle],
        table,
        rows,
        store=store,
        n_workers=n_workers,
        classes=[classes],
        overlap_s=overlap_s,
        tta_shifts=tta_shifts,
        secondary=secondary,
        report=report,
    )
    return scores


def group_by_windows(bundles: Iterable[Bundle]) -> list[list[Bundle]]:
    """Group bundles with the same windows (sample rate, length, cleaning), at most `MAX_TOGETHER` in a group.

    Every bundle is in one group. Bundles of a group keep their order, and groups with other windows follow in the order
    in which their windows first appear.
    """
    groups: dict[Hashable, list[list[Bundle]]] = defaultdict(list)
    for bundle in bundles:
        same = groups[_windows_key(bundle)]
        if not same or len(same[-1]) == MAX_TOGETHER:
            same.append([])
        same[-1].append(bundle)
    return [group for same in groups.values() for group in same]


def _windows_key(bundle: Bundle) -> Hashable:
    cleaning = bundle.info.cleaning
    return bundle.info.sample_rate_hz, bundle.window_samples, cleaning and cleaning.model_dump_json()


def score_together(
    bundles: Sequence[Bundle],
    table: RecordingsTable,
    rows: Sequence[RecordingRow],
    *,
    store: ModelStore,
    n_workers: int | None = None,
    classes: Sequence[Sequence[str] | None] | None = None,
    overlap_s: float = 0.0,
    tta_shifts: int = 1,
    secondary: Secondary = "count",
    report: Report = ignore_progress,
) -> list[Scores]:
    """Score recordings with several bundles in one pass of decoding; return the scores of each bundle, in order.

    The arguments are those of `score_data_set`, but `classes` has one entry per bundle; None: None for every bundle.

    Raises:
        InputError: a bundle knows none of the species, there are no recordings, all are unlabeled, none could be
            scored, or the overlap is as long as the window.
        ModelError: a bundle cannot be loaded or run, or its scores are not finite.
        MissingExtraError: the library that runs a model, or noisereduce for its cleaning, is not installed.
        ValueError: the bundles have different windows (see `group_by_windows`), or `classes` has another length.
    """
    if len({_windows_key(bundle) for bundle in bundles}) > 1:
        raise ValueError("bundles of different windows cannot share a decoding")
    tasks = [
        _plan_task(bundle, table, rows, each, secondary)
        for bundle, each in zip(bundles, classes or [None] * len(bundles), strict=True)
    ]
    windows = WindowPlan.from_seconds(
        rate_hz=bundles[0].info.sample_rate_hz, window_s=bundles[0].info.window_s, overlap_s=overlap_s
    )
    first, *others = (LoadedModel.open(bundle, store.folder, tta_shifts=tta_shifts) for bundle in bundles)
    analyses = {name: each for k, task in enumerate(tasks) for name, each in task.analyses(k).items()}
    results = _score_recordings(
        list(dict.fromkeys(path for task in tasks for path in task.by_path)),
        replace(first, others=tuple(others)),
        ScoringPlan(windows=windows, analyses=analyses),
        n_workers=n_workers or usable_cores(),
        report=report,
    )
    return [_build_scores(task, k, table, results, windows) for k, task in enumerate(tasks)]


@dataclass(frozen=True)
class _Task:
    """Recordings and classes that one bundle scores."""

    bundle: Bundle
    by_path: Mapping[Path, RecordingRow]
    unlabeled: tuple[str, ...]
    classes: tuple[str, ...]
    secondary: Secondary

    def analyses(self, number: int) -> dict[str, WindowAnalysis]:
        """Return the analyses of the bundle's output by name; `number` is the bundle's position among several."""
        known = self.bundle.class_by_scientific_name
        own: dict[str, WindowAnalysis] = {
            "scores": DenseScores(np.array([known[name] for name in self.classes])),
            "hits": build_score_filter(self.bundle, Options(min_score=0.0, top=1)),
        }
        if not number:
            return own
        return {_table_name(name, number): OtherModelAnalysis(number - 1, each) for name, each in own.items()}


def _table_name(analysis: str, number: int) -> str:
    return f"{analysis} {number}" if number else analysis


def _plan_task(
    bundle: Bundle,
    table: RecordingsTable,
    rows: Sequence[RecordingRow],
    classes: Sequence[str] | None,
    secondary: Secondary,
) -> _Task:
    """Return the recordings and classes that a bundle scores.

    Raises:
        InputError: the bundle knows none of the species, or all recordings are unlabeled.
    """
    unlabeled = tuple(row.recording_id for row in rows if row.is_unlabeled) if classes is None else ()
    if unlabeled:
        left_out = set(unlabeled)
        rows = [row for row in rows if row.recording_id not in left_out]
    if not rows:
        raise InputError(
            f"expected recordings with a species, annotations or background, but all {len(unlabeled)} "
            f"are unlabeled (as {unlabeled[0] if unlabeled else 'none'}). Annotate them, or name their species.",
            subject=table.folder,
        )
    known = bundle.class_by_scientific_name
    named = {name for row in rows for name in _species_in(row, secondary)}
    if classes is None and not named:  # only background: whatever the model knows is not there
        classes = [label.scientific_name for label in bundle.labels if label.kind == "species"]
    selected = tuple(name for name in (classes or sorted(named)) if name in known)
    if not selected:
        raise InputError(
            f"the model {bundle.info.name} knows none of its {len(named)} species. Names are "
            f"scientific; the model's are in its labels.csv.",
            subject=table.folder,
        )
    return _Task(bundle, {table.file(row): row for row in rows}, unlabeled, selected, secondary)


@dataclass(frozen=True)
class _Results:
    scored: dict[Path, ScoredRecording]
    reasons: dict[Path, str]
    """Reasons by path of recordings that could not be scored."""


def _score_recordings(
    paths: list[Path],
    model: LoadedModel,
    plan: ScoringPlan,
    *,
    n_workers: int,
    report: Report,
) -> _Results:
    counts = RunCounts(len(paths))
    results = _Results({}, {})
    for step in score_recordings(paths, model, plan, n_workers=n_workers):
        if step.scored is not None:
            results.scored[step.scored.path] = step.scored
        if step.failed is not None:
            results.reasons[step.failed.path] = step.failed.reason
        counts = counts.after(step, plan.windows)
        report(counts.as_progress("scoring"))
    return results


def _build_scores(task: _Task, number: int, table: RecordingsTable, results: _Results, windows: WindowPlan) -> Scores:
    """Return the scores of the bundle at position `number`.

    Raises:
        InputError: none of the recordings could be scored.
    """
    scored: list[tuple[RecordingRow, ScoredRecording]] = []
    failures: dict[str, str] = {}
    scores_name, hits_name = (_table_name(name, number) for name in ("scores", "hits"))
    for path, row in task.by_path.items():
        result = results.scored.get(path)
        if result is None:
            failures[row.recording_id] = printable(results.reasons[path])
        elif not len(result.channels[0].tables[scores_name]):
            failures[row.recording_id] = NOTHING_LEFT
        else:
            scored.append((row, result))
    if not scored:
        first = next(iter(failures.items()), None)
        why = f" ({first[0]}: {first[1]})" if first else ""
        raise InputError(f"none of its {len(task.by_path)} recordings could be scored{why}.", subject=table.folder)
    values = [result.channels[0].tables[scores_name]["scores"] for _, result in scored]
    times = [
        [result.channels[0].window_times(k, windows, result.duration_s) for k in range(len(each))]
        for (_, result), each in zip(scored, values, strict=True)
    ]
    presence = Presence(task.classes, secondary=task.secondary)
    present = [
        presence.between(row, start_s, end_s)
        for (row, _), each in zip(scored, times, strict=True)
        for start_s, end_s in each
    ]
    known = task.bundle.class_by_scientific_name
    return Scores(
        classes=task.classes,
        rows=tuple(row for row, _ in scored),
        recording=np.repeat(np.arange(len(scored)), [len(each) for each in values]),
        start_s=np.array([start_s for each in times for start_s, _ in each]),
        window_s=task.bundle.info.window_s,
        scores=np.concatenate(values, dtype=np.float64),
        presence=np.stack(present),
        failures=failures,
        unlabeled=task.unlabeled,
        secondary=task.secondary,
        unknown_species=tuple(
            tuple(name for name in _species_in(row, task.secondary) if name not in known) for row, _ in scored
        ),
        best=tuple(_find_best(result.channels[0].tables[hits_name]) for _, result in scored),
    )


def _find_best(hits: npt.NDArray[np.void]) -> BestClass | None:
    """Return the class of the highest-scoring hit (of equal scores the first); None without hits."""
    if not len(hits):
        return None
    hit = hits[np.argmax(hits["score"])]
    return BestClass(int(hit["class"]), float(hit["score"]))


def _species_in(row: RecordingRow, secondary: Secondary) -> list[str]:
    """Return the sorted species in the recording; secondary ones only with "count" and without annotations."""
    others = row.secondary if secondary == "count" and not row.is_annotated else ()
    return sorted({*species_of([row]), *others})
