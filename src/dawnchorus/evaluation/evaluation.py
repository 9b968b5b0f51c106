"""Evaluation of a bundle on a data set: all metrics, overall and by species, and comparison of two bundles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.data.presence import Secondary
from dawnchorus.evaluation.background import BackgroundTest, describe_background, measure_background
from dawnchorus.evaluation.data_quality import (
    LabelIssue,
    TrainingOverlap,
    find_label_issues,
    find_training_overlap,
    overlap_notes,
)
from dawnchorus.evaluation.events import EventCounts, count_events
from dawnchorus.evaluation.scoring import Pool, Scores
from dawnchorus.metrics import classification
from dawnchorus.metrics.bootstrap import (
    Interval,
    Metric,
    RowMean,
    RowShare,
    describe_no_width,
    interval,
    paired_interval,
)
from dawnchorus.models.bundle import Activation, Bundle
from dawnchorus.models.runner import apply_calibration
from dawnchorus.tables.notes import counted

SCHEMA = 2

MAX_NAMED = 10
"""Maximum number of species listed in a sentence."""


def _decision_metric(
    kind: int, average: str, truth: classification.BoolArray, scores: classification.FloatArray
) -> classification.FloatArray:
    """Return a metric of predicting the best-scoring species of each row; `kind` is 0, 1, 2: precision, recall, F1.

    `average` is "micro", "macro" or "weighted", as in scikit-learn.
    """
    predicted = _predict_best(truth, scores)
    if average == "micro":
        flat = (*truth.shape[:-2], -1, 1)
        return classification.precision_recall_f1(truth.reshape(flat), predicted.reshape(flat))[kind, ..., 0]
    each = np.nan_to_num(classification.precision_recall_f1(truth, predicted)[kind])  # never named: precision 0
    counts = truth.sum(-2)
    weights = counts if average == "weighted" else counts > 0
    with np.errstate(invalid="ignore"):
        return np.asarray((each * weights).sum(-1) / weights.sum(-1))


def _predict_best(truth: classification.BoolArray, scores: classification.FloatArray) -> classification.BoolArray:
    """Return a mask of the best-scoring species of each row; rows in which no known species is present have none."""
    return classification.best_class(scores) & truth.any(-1, keepdims=True)


METRICS: dict[str, Metric] = {
    "accuracy": RowShare(lambda truth, scores: classification.top_k_hits(truth, scores, 1)),
    "top_1": RowShare(lambda truth, scores: classification.top_k_hits(truth, scores, 1)),
    "top_5": RowShare(lambda truth, scores: classification.top_k_hits(truth, scores, 5)),
    "macro_roc_auc": classification.macro_roc_auc,
    "cmap": classification.cmap,
    "padded_cmap": lambda truth, scores: classification.cmap(truth, scores, n_padding=5),
    "label_ranking_average_precision": RowMean(classification.label_ranking_average_precision),
    "macro_precision": partial(_decision_metric, 0, "macro"),
    "macro_recall": partial(_decision_metric, 1, "macro"),
    "macro_f1": partial(_decision_metric, 2, "macro"),
    "micro_f1": partial(_decision_metric, 2, "micro"),
    "weighted_precision": partial(_decision_metric, 0, "weighted"),
    "weighted_recall": partial(_decision_metric, 1, "weighted"),
    "weighted_f1": partial(_decision_metric, 2, "weighted"),
    "log_loss": RowMean(classification.log_loss),
    "multilabel_log_loss": RowMean(classification.multilabel_log_loss),
}
"""Metrics by name; they are computed over recordings, with confidence intervals, and over windows, without."""

SECONDARY_NOTES: dict[Secondary, str] = {
    "count": "Secondary species count as truth.",
    "mask": "Secondary species count neither for nor against.",
}

OF_ALL_RECORDINGS = ("macro_roc_auc", "cmap", "padded_cmap", "multilabel_log_loss")
"""Metrics that use recordings without any of the species as negatives; the other metrics skip these recordings."""

PAIRED = ("top_1", "macro_roc_auc", "cmap", "macro_f1")


@dataclass(frozen=True)
class SpeciesResult:
    """Metrics of one species over recordings.

    ROC AUC and average precision need no threshold. For precision, recall and F1, the highest-scoring species of a
    recording is its prediction; recordings in which no known species is present are left out, as in the macro averages.
    A metric is NaN if it is not defined, such as the precision of a species that is never predicted.
    """

    scientific_name: str
    n_recordings: int
    """Number of recordings in which the species is present."""
    roc_auc: float
    average_precision: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class SampleSize:
    """Numbers of recordings and species that a figure is computed from."""

    n_recordings: int
    n_species: int

    def __str__(self) -> str:
        return f"{counted(self.n_recordings, 'recording')}, {self.n_species} species"


@dataclass(frozen=True)
class UnknownSpecies:
    """A species in the data set that is no class of the model, and the number of recordings in which it is present."""

    scientific_name: str
    n_recordings: int


@dataclass(frozen=True)
class Comparison:
    """Differences in metrics between two bundles, on the recordings and species of both evaluations.

    Attributes:
        counted: number of common recordings in which a common species is present, and number of common species.
        first_minus_other: difference by metric ("top_1", "macro_roc_auc", "cmap" for class-mean average precision, and
            "macro_f1"), first minus second bundle, with confidence interval.
    """

    counted: SampleSize
    n_drawn: int
    """Number of common recordings, also without a common species, which the bootstrap of the intervals draws from."""
    first_minus_other: dict[str, Interval]

    @property
    def interval_note(self) -> str | None:
        """Sentence on differences whose intervals have no width and so say nothing; None if there are none."""
        return describe_no_width(self.first_minus_other, self.n_drawn)


TEXT_METRICS = ("accuracy", "macro_roc_auc", "cmap")
"""Metrics in the text form of an `Evaluation`."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Results of evaluating one bundle on a data set.

    Attributes:
        model: name of the bundle.
        bundle_id: identifier of the bundle, from the hash of its network's file (`Bundle.id`).
        activation: activation that the bundle's scores come from.
        n_recordings: number of evaluated recordings, without those that failed or are unlabeled.
        n_windows: number of windows of these recordings.
        n_failed: number of recordings that could not be scored.
        pool: pooling of window scores to recording scores: "mean" or "max".
        secondary: treatment of secondary species: "count" as present, or "mask" as not known.
        by_recording: metrics over recordings by name (a key of `METRICS`, such as "accuracy", "macro_roc_auc" or
            "cmap"), with 95 % confidence intervals; NaN if not defined.
        by_window: metrics over windows by name (a key of `METRICS`); NaN if not defined.
        species: metrics of each of the `n_known_species`.
        training_overlap: evaluated recordings that the bundle was trained on, or that are related to such recordings.
        label_issues: recordings whose labels are likely wrong.
    """

    model: str
    bundle_id: str
    activation: Activation
    n_recordings: int
    n_windows: int
    n_failed: int
    n_unlabeled: int
    """Number of unlabeled recordings, which are left out."""
    n_known_species: int
    """Number of species in the recordings that are classes of the model; only `with_unknown` uses other species.

    If all recordings are background, all species of the model count.
    """
    n_model_species: int
    """Number of all species of the model; the best-scoring species is searched only among `n_known_species`."""
    unknown_species: tuple[UnknownSpecies, ...]
    """Species in the recordings that are no classes of the model, those with most recordings first."""
    n_unknown_recordings: int
    """Number of recordings whose species are all unknown to the model; they are used only as negatives."""
    pool: Pool
    secondary: Secondary
    by_recording: dict[str, Interval]
    counted: dict[str, SampleSize]
    """Numbers of recordings and species behind each metric of `by_recording`."""
    with_unknown: dict[str, Interval]
    """Metrics over recordings that treat unknown species as never detected: accuracy, top_5, cmap and macro_f1.

    Empty without unknown species.
    """
    by_window: dict[str, float]
    species: tuple[SpeciesResult, ...]
    confusion: npt.NDArray[np.int64]
    """Confusion matrix [true species, best-scoring species] of numbers of recordings, in the order of `species`.

    A recording with several species counts for each of them, one without any not at all.
    """
    calibration_error: float
    """Expected calibration error of the scores of windows, all species together."""
    reliability: tuple[tuple[float, float, int], ...]
    """(mean score, share of these scores whose species is present, number of these scores) of the scores in each tenth
    of 0 to 1, ascending; tenths without scores are left out."""
    calibrated_error: float | None
    """Expected calibration error of the bundle's calibrated probabilities; None without a calibration."""
    calibrated_reliability: tuple[tuple[float, float, int], ...]
    """Like `reliability`, with calibrated probabilities in place of scores; empty without a calibration."""
    background: BackgroundTest | None
    """Scores and false alarms in background; None if no recording has any."""
    events: dict[str, EventCounts]
    """Event counts by threshold as text, such as "0.25"; empty without annotated recordings."""
    n_unknown_marks: int
    """Number of annotations of unknown species, which `events` leaves out."""
    training_overlap: tuple[TrainingOverlap, ...]
    overlap_notes: tuple[str, ...]
    """Sentences on kinds of training overlap that could not be checked."""
    label_issues: tuple[LabelIssue, ...]

    @property
    def background_notes(self) -> tuple[str, ...]:
        """Sentences on the scores in background; a warning if they were not measured (`background` is None)."""
        return tuple(describe_background(self.background, model=self.model, activation=self.activation))

    def counted_with_unknown(self, name: str) -> SampleSize:
        """Return the numbers of recordings and species behind the metric `name`, a key of `with_unknown`."""
        known = self.counted[name]
        n_more = 0 if name in OF_ALL_RECORDINGS else self.n_unknown_recordings
        return SampleSize(known.n_recordings + n_more, known.n_species + len(self.unknown_species))

    @property
    def calibration_size(self) -> str:
        """Text with the numbers of windows and species behind the calibration errors."""
        return f"{counted(self.n_windows, 'window')}, {self.n_known_species} species"

    @property
    def interval_note(self) -> str | None:
        """Sentence on metrics whose intervals have no width and so say nothing; None if there are none."""
        with_unknown = {f"{name} with unknown species": each for name, each in self.with_unknown.items()}
        return describe_no_width({**self.by_recording, **with_unknown}, self.n_recordings)

    @property
    def coverage_notes(self) -> tuple[str, ...]:
        """Sentences on the recordings and species that are evaluated and left out, unknown species first."""
        return tuple(_describe_coverage(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {self.by_recording[name]}" for name in TEXT_METRICS if name in self.by_recording)
        return f"<Evaluation of {self.model} {self.bundle_id}: {self.n_recordings} recordings, {shown}>"

    def as_json(self) -> dict[str, Any]:
        """Return all fields by name as values for JSON, and the key "schema" with the version of this format.

        Dataclasses are dicts of their fields, and `confusion` is a list of rows; each value of `events` also has
        precision and recall. Metrics that are not defined are NaN (not JSON).
        """
        fields = asdict(self)
        fields["confusion"] = self.confusion.tolist()
        fields["events"] = {name: counts.as_json() for name, counts in self.events.items()}
        return {"schema": SCHEMA, **fields}

    def as_record(self) -> dict[str, Any]:
        """Return the fields to store in a training run.

        They are bundle_id, n_recordings, n_unknown_recordings, pool, secondary, and "metrics": a dict by the names in
        `by_recording`, each a dict with value, low and high, which are NaN (not JSON) if they are not defined.
        """
        names = ("bundle_id", "n_recordings", "n_unknown_recordings", "pool", "secondary")
        fields = {name: getattr(self, name) for name in names}
        return {**fields, "metrics": {name: vars(value) for name, value in self.by_recording.items()}}


def evaluate(bundle: Bundle, scores: Scores, *, pool: Pool = "mean") -> Evaluation:
    """Compute all metrics from the scores of `bundle` on a data set.

    `pool` is the pooling of a recording's window scores to its score: "mean" or "max" over the windows.

    Raises:
        FormatError: the bundle's table of training recordings is damaged or of another version.
    """
    by_recording, truth = scores.by_recording(pool)
    known = scores.known_scores
    n_model_species = sum(label.kind == "species" for label in bundle.labels)
    unknown = _unknown_species(scores)
    calibration = bundle.info.calibration
    probabilities = None if calibration is None else apply_calibration(known, calibration)
    return Evaluation(
        model=bundle.info.name,
        bundle_id=bundle.id,
        activation=bundle.info.activation,
        n_recordings=len(scores.rows),
        n_windows=len(known),
        n_failed=len(scores.failures),
        n_unlabeled=len(scores.unlabeled),
        n_known_species=len(scores.classes),
        n_model_species=n_model_species,
        unknown_species=unknown,
        n_unknown_recordings=int(_is_unknown(scores, truth).sum()),
        pool=pool,
        secondary=scores.secondary,
        by_recording={name: interval(metric, truth, by_recording) for name, metric in METRICS.items()},
        counted={name: _count_rows(name, truth, by_recording) for name in METRICS},
        with_unknown=_with_unknown(scores, truth, by_recording) if unknown else {},
        by_window={name: float(metric(scores.truth, known)) for name, metric in METRICS.items()},
        species=_species(scores, truth, by_recording),
        confusion=count_confusions(truth, by_recording),
        calibration_error=classification.expected_calibration_error(scores.truth, known),
        reliability=_reliability(known, scores.truth),
        calibrated_error=(
            None if probabilities is None else classification.expected_calibration_error(scores.truth, probabilities)
        ),
        calibrated_reliability=() if probabilities is None else _reliability(probabilities, scores.truth),
        background=measure_background(scores),
        events=count_events(scores),
        n_unknown_marks=sum(
            mark.scientific_name in unknown
            for row, unknown in zip(scores.rows, scores.unknown_species, strict=False)
            for mark in row.annotations
        ),
        training_overlap=find_training_overlap(bundle, scores.rows),
        overlap_notes=overlap_notes(bundle, scores.rows),
        label_issues=find_label_issues(scores),
    )


def compare(first: Scores, second: Scores, *, pool: Pool = "mean") -> Comparison:
    """Compare the scores of two bundles on their common recordings and species, with paired confidence intervals.

    Recordings are matched by recording_id, and species by scientific name; the labels are those of `first`. `pool` is
    the pooling of a recording's window scores to its score: "mean" or "max" over the windows. All differences are NaN
    if no recording or no species is common.
    """
    classes = [name for name in first.classes if name in second.classes]
    ids = [row.recording_id for row in first.rows]
    other = {row.recording_id: k for k, row in enumerate(second.rows)}
    shared = [k for k, name in enumerate(ids) if name in other]
    if not classes or not shared:
        nothing = Interval(float("nan"), float("nan"), float("nan"))
        return Comparison(SampleSize(0, len(classes)), len(shared), dict.fromkeys(PAIRED, nothing))
    own, truth = _select(first, shared, classes, pool)
    others, _ = _select(second, [other[ids[k]] for k in shared], classes, pool)
    return Comparison(
        SampleSize(int(truth.any(1).sum()), len(classes)),
        len(shared),
        {name: paired_interval(METRICS[name], truth, own, others) for name in PAIRED},
    )


def _select(
    scores: Scores, rows: Sequence[int], classes: Sequence[str], pool: Pool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return scores and truth [rows, classes] of the recordings with these indices, and these classes."""
    values, truth = scores.by_recording(pool)
    columns = [scores.classes.index(name) for name in classes]
    return values[rows][:, columns], truth[rows][:, columns]


def _count_rows(name: str, truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> SampleSize:
    is_known = ~np.isnan(scores)
    rows = is_known.any(1) if name in OF_ALL_RECORDINGS else truth.any(1)
    columns = truth.any(0)
    if name == "macro_roc_auc":
        columns &= (~truth & is_known).any(0)
    return SampleSize(int(rows.sum()), int(columns.sum()))


def _unknown_species(scores: Scores) -> tuple[UnknownSpecies, ...]:
    counts = Counter(name for names in scores.unknown_species for name in names)
    return tuple(UnknownSpecies(name, n) for name, n in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _is_unknown(scores: Scores, truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return True [recordings] for recordings with species, all of which the model does not know."""
    has_unknown = np.array([bool(names) for names in scores.unknown_species] or [False] * len(truth))
    return np.asarray(has_unknown & ~truth.any(1))


def _with_unknown(
    scores: Scores, truth: npt.NDArray[np.bool_], by_recording: npt.NDArray[np.float64]
) -> dict[str, Interval]:
    """Return metrics with confidence intervals in which unknown species are classes that are never detected."""
    names = sorted({name for each in scores.unknown_species for name in each})
    n_known = len(scores.classes)
    present = np.array([[name in each for name in names] for each in scores.unknown_species], bool)
    all_truth = np.concatenate([truth, present], axis=1)
    values = np.concatenate([by_recording, np.zeros(present.shape)], axis=1)
    with_all: dict[str, Metric] = {
        "accuracy": RowShare(partial(_hits_with_unknown, n_known, 1)),
        "top_5": RowShare(partial(_hits_with_unknown, n_known, 5)),
        "cmap": partial(_mean_with_unknown, n_known, METRICS["cmap"]),
        "macro_f1": partial(_mean_with_unknown, n_known, METRICS["macro_f1"]),
    }
    return {name: interval(metric, all_truth, values) for name, metric in with_all.items()}


def _hits_with_unknown(
    n_known: int, k: int, truth: classification.BoolArray, values: classification.FloatArray
) -> classification.FloatArray:
    """Return `top_k_hits` [..., rows], with the classes from column `n_known` on never detected."""
    known = classification.top_k_hits(truth[..., :n_known], values[..., :n_known], k)
    return np.asarray(np.where(truth.any(-1), np.nan_to_num(known), np.nan))


def _mean_with_unknown(
    n_known: int, metric: Metric, truth: classification.BoolArray, values: classification.FloatArray
) -> classification.FloatArray:
    """Return a macro-averaged metric, with the value 0 for the classes from column `n_known` on."""
    known = metric(truth[..., :n_known], values[..., :n_known])
    n_never = truth[..., n_known:].any(-2).sum(-1)
    n_known_classes = truth[..., :n_known].any(-2).sum(-1)
    return np.asarray(np.nan_to_num(known) * n_known_classes / np.maximum(n_known_classes + n_never, 1))


def _describe_coverage(evaluation: Evaluation) -> Iterator[str]:
    unknown = evaluation.unknown_species
    n_species = evaluation.n_known_species + len(unknown)
    model = evaluation.model
    if unknown:
        named = ", ".join(f"{each.scientific_name} ({each.n_recordings})" for each in unknown[:MAX_NAMED])
        more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        yield (
            f"warning: {model} does not know {len(unknown)} of the {n_species} species of these recordings: {named}"
            f"{more}. In {evaluation.n_unknown_recordings} of {counted(evaluation.n_recordings, 'recording')} it knows "
            f"none; these are negatives for ROC AUC and average precision, and left out of the others where nothing "
            f"else is said."
        )
    left_out = [
        f"{n} {what}"
        for n, what in (
            (evaluation.n_unlabeled, "unlabeled"),
            (evaluation.n_failed, "failed"),
        )
        if n
    ]
    among = (
        f" The best species is chosen among these, not among all {evaluation.n_model_species} that it knows."
        if evaluation.n_model_species > evaluation.n_known_species
        else ""
    )
    yield (
        f"{model}: {counted(evaluation.n_recordings, 'recording')} of {n_species} species, of which it knows "
        f"{evaluation.n_known_species}.{among}" + (f" Left out: {', '.join(left_out)}." if left_out else "")
    )


def _species(
    scores: Scores, truth: npt.NDArray[np.bool_], by_recording: npt.NDArray[np.float64]
) -> tuple[SpeciesResult, ...]:
    auc, ap = classification.roc_auc(truth, by_recording), classification.average_precision(truth, by_recording)
    precision, recall, f1 = classification.precision_recall_f1(truth, _predict_best(truth, by_recording))
    return tuple(
        SpeciesResult(name, int(truth[:, k].sum()), *(float(v[k]) for v in (auc, ap, precision, recall, f1)))
        for k, name in enumerate(scores.classes)
    )


def count_confusions(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the confusion matrix [true species, best-scoring species] of numbers of rows.

    `truth` (True for present species) and `scores` are [rows, species]; a row is a recording or a window. A row with
    several true species counts for each of them, a row without true species not at all.
    """
    table = np.zeros((truth.shape[1], truth.shape[1]), np.int64)
    best = classification.best_index(scores)
    for k in np.flatnonzero(truth.any(1)).tolist():
        table[truth[k], best[k]] += 1
    return table


def _reliability(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> tuple[tuple[float, float, int], ...]:
    known = ~np.isnan(scores)
    stated, correct = scores[known], truth[known]
    bins = np.minimum((stated * 10).astype(int), 9)
    points = []
    for k in range(10):
        here = bins == k
        if here.any():
            points.append((float(stated[here].mean()), float(correct[here].mean()), int(here.sum())))
    return tuple(points)
