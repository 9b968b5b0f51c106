"""Comparison of two models on the same recordings: agreement, score differences, and classes of one model only.

No labels are needed. Recordings are divided into equal segments, as long as the longer window of both models. A
detection belongs to the segment that contains its center.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dawnchorus.errors import InputError
from dawnchorus.metrics.bootstrap import Interval, ratio_interval
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label

KEYS = ("recording", "segment", "scientific_name")
COLUMNS = ("recording", "start_s", "end_s", "scientific_name", "score")
"""Columns of detections that the comparison needs."""


@dataclass(frozen=True)
class ModelOutput:
    """Detections of one model in some recordings.

    Attributes:
        name: name of the model, for tables.
        labels: all classes of the model.
        window_s: length of its windows in seconds.
        kept_score: score below which its detections were not kept.
        detections: the detections, with the columns recording, start_s, end_s, scientific_name and score.
        recordings: names of the recordings that were scored, also of those without a detection.
    """

    name: str
    labels: tuple[Label, ...]
    window_s: float
    kept_score: float
    detections: pa.Table
    recordings: frozenset[str]


@dataclass(frozen=True)
class LabelMap:
    """Mapping between the classes of two models, by scientific name, common name or similar spelling.

    Attributes:
        pairs: scientific names in the first model by scientific names in the second model.
        renamed: pairs (name in the first model, name in the second) with different scientific names.
        only_first: classes of the first model only.
        only_second: classes of the second model only.
    """

    pairs: Mapping[str, str]
    renamed: tuple[tuple[str, str], ...]
    only_first: tuple[Label, ...]
    only_second: tuple[Label, ...]


def map_labels(first: Sequence[Label], second: Sequence[Label]) -> LabelMap:
    """Return the mapping between the classes of two models.

    A class is mapped once. If several classes of the second model match one class of the first, the one with the same
    scientific name is mapped, or if there is none, the first in the order of `second`. The others are in `only_second`.
    """
    exact = {label.scientific_name for label in first}
    pairs = {label.scientific_name: label.scientific_name for label in second if label.scientific_name in exact}
    known = KnownClasses(first)
    taken = set(pairs.values())
    for label in second:
        if label.scientific_name in pairs:
            continue
        match = known.find(label)
        if match is not None and match.scientific_name not in taken:
            pairs[label.scientific_name] = match.scientific_name
            taken.add(match.scientific_name)
    return LabelMap(
        pairs,
        tuple((own, other) for other, own in pairs.items() if own != other),
        tuple(label for label in first if label.scientific_name not in taken),
        tuple(label for label in second if label.scientific_name not in pairs),
    )


@dataclass(frozen=True)
class SpeciesAgreement:
    """Agreement of two models on one species.

    Attributes:
        scientific_name: name in the first model.
        common_name: name in the first model.
        n_both: number of segments in which both models detect the species (score at the threshold or above).
        n_only_first: number of segments in which only the first model detects the species.
        n_only_second: number of segments in which only the second model detects the species.
        n_recordings_first: number of recordings in which the first model detects the species.
        n_recordings_second: number of recordings in which the second model detects the species.
        score_shift: median of second minus first score over the segments with a score of both models; NaN without any.
        n_shifts: number of these segments.
    """

    scientific_name: str
    common_name: str
    n_both: int
    n_only_first: int
    n_only_second: int
    n_recordings_first: int
    n_recordings_second: int
    score_shift: float
    n_shifts: int


@dataclass(frozen=True)
class KnownToOne:
    """A class of one model only, and the number of segments in which this model detects the class."""

    scientific_name: str
    common_name: str
    n_segments: int


@dataclass(frozen=True)
class ModelComparison:
    """Comparison of two models on the recordings that both have scored.

    Attributes:
        first: name of the first model.
        second: name of the second model.
        threshold: minimum score of a detected species.
        segment_s: length of a segment in seconds.
        n_recordings: number of recordings that both models have scored.
        missing_first: sorted names of recordings that the first model has not scored, but the second has.
        missing_second: sorted names of recordings that the second model has not scored, but the first has.
        labels: mapping between the classes of both models.
        agreement: share of pairs (segment, species) detected by both models, of those detected by at least one; NaN
            if there are none.
        score_shift: mean of second minus first score over pairs (segment, species) with a score of both models; NaN
            if there are none.
        species: species of both models that at least one model has detected, those with most segments in which only one
            model detects the species first.
        only_first: classes of the first model only that it has detected, those with most segments first.
        only_second: classes of the second model only that it has detected, those with most segments first.
    """

    first: str
    second: str
    threshold: float
    segment_s: float
    n_recordings: int
    missing_first: tuple[str, ...]
    missing_second: tuple[str, ...]
    labels: LabelMap
    agreement: Interval
    score_shift: Interval
    species: tuple[SpeciesAgreement, ...]
    only_first: tuple[KnownToOne, ...] = field(default=())
    only_second: tuple[KnownToOne, ...] = field(default=())


def compare_models(first: ModelOutput, second: ModelOutput, *, threshold: float) -> ModelComparison:
    """Compare the detections of two models in the recordings that both have scored.

    Args:
        first: detections of the first model.
        second: detections of the second model.
        threshold: minimum score of a detected species.

    Raises:
        InputError: no recording was scored by both, or the threshold is below the `kept_score` of a model.
    """
    shared = first.recordings & second.recordings
    if not shared:
        raise InputError(f"{first.name} and {second.name} have scored no recording in common, so nothing is compared.")
    for each in (first, second):
        if threshold < each.kept_score:
            raise InputError(
                f"min_score: expected {each.kept_score:g} or more, which is kept of {each.name}, got {threshold:g}."
            )
    labels = map_labels(first.labels, second.labels)
    segment_s = max(first.window_s, second.window_s)
    scores = [_best_scores(each, shared, segment_s) for each in (first, second)]
    known = [scores[0], _rename(scores[1], labels.pairs)]
    of_both = [rows.filter(_is_in(rows, set(labels.pairs.values()))) for rows in known]
    joined = of_both[0].join(of_both[1], keys=list(KEYS), join_type="full outer", right_suffix="_second")
    return ModelComparison(
        first=first.name,
        second=second.name,
        threshold=threshold,
        segment_s=segment_s,
        n_recordings=len(shared),
        missing_first=tuple(sorted(second.recordings - shared)),
        missing_second=tuple(sorted(first.recordings - shared)),
        labels=labels,
        **_agree(joined, first.labels, threshold, shared),
        only_first=_known_to_one(scores[0], labels.only_first, threshold),
        only_second=_known_to_one(scores[1], labels.only_second, threshold),
    )


def _best_scores(output: ModelOutput, recordings: frozenset[str], segment_s: float) -> pa.Table:
    """Return the highest score of each species in each segment, in rows with `KEYS` and score."""
    rows = output.detections.select(COLUMNS)
    rows = rows.filter(pc.is_in(rows["recording"], value_set=pa.array(sorted(recordings), pa.string())))
    middle = pc.divide(pc.add(rows["start_s"], rows["end_s"]), 2.0)
    segment = pc.cast(pc.floor(pc.divide(middle, segment_s)), pa.int64())
    table = pa.table(
        {
            "recording": pc.cast(rows["recording"], pa.string()),
            "segment": segment,
            "scientific_name": pc.cast(rows["scientific_name"], pa.string()),
            "score": pc.cast(rows["score"], pa.float64()),
        }
    )
    best = table.group_by(list(KEYS)).aggregate([("score", "max")])
    return best.rename_columns([name.removesuffix("_max") for name in best.column_names]).select([*KEYS, "score"])


def _rename(rows: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Return the rows with species' names replaced by `names` (current to new name)."""
    renamed = [names.get(name, name) for name in rows["scientific_name"].to_pylist()]
    return rows.set_column(
        rows.schema.get_field_index("scientific_name"), "scientific_name", pa.array(renamed, pa.string())
    )


def _is_in(rows: pa.Table, names: set[str]) -> pa.ChunkedArray:
    return pc.is_in(rows["scientific_name"], value_set=pa.array(sorted(names), pa.string()))


def _agree(joined: pa.Table, labels: Sequence[Label], threshold: float, recordings: frozenset[str]) -> dict[str, Any]:
    """Return the fields agreement, score_shift and species of a comparison, from joined scores of both models."""
    first, second = (joined[name].to_numpy() for name in ("score", "score_second"))  # NaN: nothing was kept
    # Scores are float32, as those that `identify` compares.
    has_first, has_second = first >= np.float32(threshold), second >= np.float32(threshold)
    has_shift = ~np.isnan(first) & ~np.isnan(second)
    shift = np.where(has_shift, second - first, 0.0)
    numbers = {name: k for k, name in enumerate(sorted(recordings))}
    recording = np.array([numbers[name] for name in joined["recording"].to_pylist()], np.int64)
    sums = np.zeros((len(numbers), 4))
    for column, values in enumerate((has_first & has_second, has_first | has_second, shift, has_shift)):
        np.add.at(sums[:, column], recording, values.astype(np.float64))
    common = {label.scientific_name: label.common_name for label in labels}
    species = np.array(joined["scientific_name"].to_pylist(), object)
    rows = []
    for name in sorted(set(species[has_first | has_second].tolist())):
        own = species == name
        rows.append(
            SpeciesAgreement(
                scientific_name=name,
                common_name=common[name],
                n_both=int((own & has_first & has_second).sum()),
                n_only_first=int((own & has_first & ~has_second).sum()),
                n_only_second=int((own & ~has_first & has_second).sum()),
                n_recordings_first=_count_distinct(recording[own & has_first]),
                n_recordings_second=_count_distinct(recording[own & has_second]),
                score_shift=float(np.median(shift[own & has_shift])) if (own & has_shift).any() else float("nan"),
                n_shifts=int((own & has_shift).sum()),
            )
        )
    rows.sort(key=lambda row: (-row.n_only_first - row.n_only_second, row.scientific_name))
    return {
        "agreement": ratio_interval(sums[:, 0], sums[:, 1]),
        "score_shift": ratio_interval(sums[:, 2], sums[:, 3]),
        "species": tuple(rows),
    }


def _count_distinct(values: npt.NDArray[np.int64]) -> int:
    return len(np.unique(values))


def _known_to_one(rows: pa.Table, labels: Sequence[Label], threshold: float) -> tuple[KnownToOne, ...]:
    """Return the detected ones of the classes of one model only, those with most segments first."""
    common = {label.scientific_name: label.common_name for label in labels}
    own = rows.filter(_is_in(rows, set(common)))
    own = own.filter(pc.greater_equal(own["score"], float(np.float32(threshold))))
    counts = own.group_by("scientific_name").aggregate([("score", "count")])
    names, numbers = counts["scientific_name"].to_pylist(), counts["score_count"].to_pylist()
    listed = (KnownToOne(name, common[name], n) for name, n in zip(names, numbers, strict=True))
    return tuple(sorted(listed, key=lambda each: (-each.n_segments, each.scientific_name)))
