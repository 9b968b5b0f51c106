"""Scores in recordings without any of the species: how much a model hears in noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.data.recordings import RecordingRow
from dawnchorus.evaluate.scoring import Scores
from dawnchorus.identify.options import DEFAULT_MIN_SCORE
from dawnchorus.models.bundle import Activation

PERCENTILE = 95


@dataclass(frozen=True)
class BackgroundScore:
    """Scores of the windows of one background recording, each the highest of the species that are not in it."""

    recording_id: str
    highest: float
    percentile_95: float
    scientific_name: str
    """The species with the highest score."""


@dataclass(frozen=True)
class BackgroundTest:
    """Scores of all background recordings, the highest first."""

    n_recordings: int
    n_heard: int
    """Recordings in which a species scores `min_score` or more."""
    min_score: float
    """The score from which `identify` shows a species by default."""
    highest: float
    percentile_95: float
    """95 % of the recordings have a highest score of at most this."""
    recordings: tuple[BackgroundScore, ...]

    def as_record(self) -> dict[str, float]:
        """Return the figures of all recordings together."""
        names = ("n_recordings", "n_heard", "min_score", "highest", "percentile_95")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        first = self.recordings[0]
        return (
            f"highest score {self.highest:.3f} ({first.scientific_name} in {first.recording_id}), 95th percentile "
            f"{self.percentile_95:.3f}; from {self.min_score:g} on in {self.n_heard} of {self.n_recordings} "
            f"background recordings"
        )


def measure_background(scores: Scores) -> BackgroundTest | None:
    """Measure the scores in background recordings; None where there are none.

    Of a recording that is known to be without some species, as BirdNET-Analyzer's negatives are, only these count.
    """
    found = []
    for k, row in enumerate(scores.rows):
        columns = _absent_columns(row, scores.classes)
        windows = np.flatnonzero(scores.recording == k)
        if len(columns) and len(windows):
            found.append(_of_recording(row, scores, windows, columns))
    if not found:
        return None
    highest = [each.highest for each in found]
    return BackgroundTest(
        n_recordings=len(found),
        n_heard=sum(score >= DEFAULT_MIN_SCORE for score in highest),
        min_score=DEFAULT_MIN_SCORE,
        highest=max(highest),
        percentile_95=float(np.percentile(highest, PERCENTILE)),
        recordings=tuple(sorted(found, key=lambda each: -each.highest)),
    )


def _absent_columns(row: RecordingRow, classes: tuple[str, ...]) -> npt.NDArray[np.int64]:
    if row.kind != "background":
        return np.empty(0, np.int64)
    absent = [k for k, name in enumerate(classes) if not row.absent or name in row.absent]
    return np.array(absent, np.int64)


def _of_recording(
    row: RecordingRow, scores: Scores, windows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> BackgroundScore:
    values = scores.scores[np.ix_(windows, columns)]
    best = values.max(1)
    return BackgroundScore(
        recording_id=row.recording_id,
        highest=float(best.max()),
        percentile_95=float(np.percentile(best, PERCENTILE)),
        scientific_name=scores.classes[columns[int(values.max(0).argmax())]],
    )


def describe_background(test: BackgroundTest | None, *, model: str, activation: Activation) -> Iterator[str]:
    """Yield what a user should know of a model's scores in background, and do about high ones."""
    if test is None:
        yield (
            f"note: none of these recordings is background, so it is not known how high {model} scores where there is "
            f"no bird. Add some, as a folder 'noise', and split again."
        )
        return
    if not test.n_heard:
        yield f"background: {model}: {test}"
        return
    remedy = (
        "Its scores sum to 1 in every window, so that some species is heard in noise as well: train with loss=bce."
        if activation == "softmax"
        else "Add recordings like these to the background for training, train longer, or use a higher --min-score."
    )
    yield f"warning: {model} hears species in background: {test}. {remedy}"
