"""An evaluation: every metric of a bundle on a data set, overall and by species."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.evaluate import metrics
from dawnchorus.evaluate.bootstrap import Interval, Metric, RowMean, interval, paired_interval
from dawnchorus.evaluate.events import EventCounts, count_events
from dawnchorus.evaluate.scoring import Pool, Scores, Secondary
from dawnchorus.evaluate.suspects import Doubt, Leak, doubtful_labels, learned_from
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import probabilities_of

SCHEMA = 1


def _decided(kind: int, average: str) -> Metric:
    """Precision, recall or F1 (0, 1, 2) of deciding for the best species of each row."""

    def metric(truth: metrics.BoolArray, scores: metrics.FloatArray) -> metrics.FloatArray:
        found = metrics.best_class(scores) & truth.any(-1, keepdims=True)
        if average == "micro":
            flat = (*truth.shape[:-2], -1, 1)
            return metrics.precision_recall_f1(truth.reshape(flat), found.reshape(flat))[kind, ..., 0]
        each = np.nan_to_num(metrics.precision_recall_f1(truth, found)[kind])  # never named: precision 0
        counts = truth.sum(-2)
        weights = counts if average == "weighted" else counts > 0
        with np.errstate(invalid="ignore"):
            return np.asarray((each * weights).sum(-1) / weights.sum(-1))

    return metric


METRICS: dict[str, Metric] = {
    "accuracy": RowMean(lambda truth, scores: metrics.top_k_hits(truth, scores, 1)),
    "top_1": RowMean(lambda truth, scores: metrics.top_k_hits(truth, scores, 1)),
    "top_5": RowMean(lambda truth, scores: metrics.top_k_hits(truth, scores, 5)),
    "macro_roc_auc": metrics.macro_roc_auc,
    "cmap": metrics.cmap,
    "padded_cmap": lambda truth, scores: metrics.cmap(truth, scores, n_padding=5),
    "label_ranking_average_precision": RowMean(metrics.label_ranking_average_precision),
    "macro_precision": _decided(0, "macro"),
    "macro_recall": _decided(1, "macro"),
    "macro_f1": _decided(2, "macro"),
    "micro_f1": _decided(2, "micro"),
    "weighted_precision": _decided(0, "weighted"),
    "weighted_recall": _decided(1, "weighted"),
    "weighted_f1": _decided(2, "weighted"),
    "log_loss": RowMean(metrics.log_loss),
    "multilabel_log_loss": RowMean(metrics.multilabel_log_loss),
}
"""By name: what is computed of recordings with intervals, and of windows without."""

SECONDARY_NOTES: dict[Secondary, str] = {
    "count": "Secondary species count as truth.",
    "mask": "Secondary species count neither for nor against.",
    "ignore": "Secondary species are ignored: they count as not there.",
}

PAIRED = ("top_1", "macro_roc_auc", "cmap", "macro_f1")


@dataclass(frozen=True)
class SpeciesResult:
    """How well one species is told."""

    scientific_name: str
    n_recordings: int
    roc_auc: float
    average_precision: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """All of it."""

    model: str
    bundle_id: str
    n_recordings: int
    n_windows: int
    n_failed: int
    n_unlabelled: int
    """Recordings left out because nobody said what is in them."""
    pool: Pool
    secondary: Secondary
    by_recording: dict[str, Interval]
    by_window: dict[str, float]
    species: tuple[SpeciesResult, ...]
    confusion: npt.NDArray[np.int64]
    """[species, species]: recordings of the one for which the other has the best score."""
    calibration_error: float
    reliability: tuple[tuple[float, float, int], ...]
    """In each tenth of the score: mean score, share that is right, number of windows and species."""
    calibrated_error: float | None
    """The same of the probabilities that the bundle's calibration makes of the scores; None: it has none."""
    calibrated_reliability: tuple[tuple[float, float, int], ...]
    events: dict[str, EventCounts]
    """By threshold, where there are annotations."""
    leaks: tuple[Leak, ...]
    doubtful: tuple[Doubt, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        fields = asdict(self)
        fields["confusion"] = self.confusion.tolist()
        fields["events"] = {name: counts.as_json() for name, counts in self.events.items()}
        return {"schema": SCHEMA, **fields}

    def as_record(self) -> dict[str, Any]:
        """Return what a run keeps of it: the bundle, and each metric of recordings with its interval."""
        about = {name: getattr(self, name) for name in ("bundle_id", "n_recordings", "pool", "secondary")}
        return {**about, "metrics": {name: vars(value) for name, value in self.by_recording.items()}}


def evaluate(bundle: Bundle, scores: Scores, *, pool: Pool = "mean") -> Evaluation:
    """Every metric of scores that were made with the bundle."""
    by_recording, truth = scores.by_recording(pool)
    calibration = bundle.info.calibration
    probabilities = None if calibration is None else probabilities_of(scores.scores, calibration)
    return Evaluation(
        model=bundle.info.name,
        bundle_id=bundle.id,
        n_recordings=len(scores.rows),
        n_windows=len(scores.scores),
        n_failed=len(scores.failures),
        n_unlabelled=len(scores.unlabelled),
        pool=pool,
        secondary=scores.secondary,
        by_recording={name: interval(metric, truth, by_recording) for name, metric in METRICS.items()},
        by_window={name: float(metric(scores.truth, scores.scores)) for name, metric in METRICS.items()},
        species=_species(scores, truth, by_recording),
        confusion=confusion_of(truth, by_recording),
        calibration_error=metrics.expected_calibration_error(scores.truth, scores.scores),
        reliability=_reliability(scores.scores, scores.truth),
        calibrated_error=(
            None if probabilities is None else metrics.expected_calibration_error(scores.truth, probabilities)
        ),
        calibrated_reliability=() if probabilities is None else _reliability(probabilities, scores.truth),
        events=count_events(scores),
        leaks=learned_from(bundle, scores.rows),
        doubtful=doubtful_labels(scores),
    )


def compare(first: Scores, second: Scores, *, pool: Pool = "mean") -> dict[str, Interval]:
    """How much better the first is than the second, on the recordings and species that both have."""
    classes = [name for name in first.classes if name in second.classes]
    ids = [row.recording_id for row in first.rows]
    other = {row.recording_id: k for k, row in enumerate(second.rows)}
    shared = [k for k, name in enumerate(ids) if name in other]

    def part(scores: Scores, rows: list[int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        values, truth = scores.by_recording(pool)
        columns = [scores.classes.index(name) for name in classes]
        return values[rows][:, columns], truth[rows][:, columns]

    own, truth = part(first, shared)
    others, _ = part(second, [other[ids[k]] for k in shared])
    return {name: paired_interval(METRICS[name], truth, own, others) for name in PAIRED}


def _species(
    scores: Scores, truth: npt.NDArray[np.bool_], by_recording: npt.NDArray[np.float64]
) -> tuple[SpeciesResult, ...]:
    auc, ap = metrics.roc_auc(truth, by_recording), metrics.average_precision(truth, by_recording)
    precision, recall, f1 = metrics.precision_recall_f1(truth, metrics.best_class(by_recording))
    return tuple(
        SpeciesResult(name, int(truth[:, k].sum()), *(float(v[k]) for v in (auc, ap, precision, recall, f1)))
        for k, name in enumerate(scores.classes)
    )


def confusion_of(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How often the best score of a row with one species is another's [species, species]."""
    table = np.zeros((truth.shape[1], truth.shape[1]), np.int64)
    best = metrics.best_index(scores)
    for k in np.flatnonzero(truth.any(1)).tolist():
        table[truth[k], best[k]] += 1
    return table


def _reliability(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> tuple[tuple[float, float, int], ...]:
    known = ~np.isnan(scores)
    said, right = scores[known], truth[known]
    bins = np.minimum((said * 10).astype(int), 9)
    found = []
    for k in range(10):
        here = bins == k
        if here.any():
            found.append((float(said[here].mean()), float(right[here].mean()), int(here.sum())))
    return tuple(found)
