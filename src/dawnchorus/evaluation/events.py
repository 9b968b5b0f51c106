"""Event-based metrics: predicted events against annotations in annotated recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dawnchorus.data.presence import touches
from dawnchorus.data.recordings import Annotation
from dawnchorus.evaluation.scoring import FloatArray, Scores

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class EventCounts:
    """Counts of predicted and annotated events at one threshold.

    Attributes:
        n_predicted: number of predicted events: overlapping and adjacent windows in which a species scores the
            threshold or more, joined.
        n_correct: number of predicted events that touch an annotation of their species.
        n_annotated: number of annotations of the scored species.
        n_recalled: number of annotations that a predicted event of their species touches.
    """

    n_predicted: int
    n_correct: int
    n_annotated: int
    n_recalled: int
    n_recordings: int = 0
    """Number of annotated recordings."""

    @property
    def precision(self) -> float:
        """Share of predicted events that are correct; NaN without predicted events."""
        return self.n_correct / self.n_predicted if self.n_predicted else float("nan")

    @property
    def recall(self) -> float:
        """Share of annotations that a predicted event touches; NaN without annotations."""
        return self.n_recalled / self.n_annotated if self.n_annotated else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Return the five fields by name, and precision and recall, which are NaN (not JSON) if they are undefined."""
        return {**vars(self), "precision": self.precision, "recall": self.recall}


def count_events(scores: Scores) -> dict[str, EventCounts]:
    """Count events in annotated recordings by threshold; empty if no recording is annotated.

    Keys are the thresholds as text: "0.1", "0.25", "0.5", "0.75" and "0.9". In an annotated recording without
    annotations, each predicted event is wrong. A predicted event that touches an annotation without a species, and none
    of its species, is not counted.
    """
    annotated = [k for k, row in enumerate(scores.rows) if row.is_annotated]
    if not annotated:
        return {}
    return {f"{threshold:g}": _count_at(scores, annotated, threshold) for threshold in THRESHOLDS}


def _count_at(scores: Scores, annotated: list[int], threshold: float) -> EventCounts:
    """Count events at one threshold; neighboring windows at the threshold or above are one predicted event."""
    counts = np.zeros(4, int)
    for recording in annotated:
        unnamed = [mark for mark in scores.rows[recording].annotations if not mark.scientific_name]
        here = np.flatnonzero(scores.recording == recording)
        for k, name in enumerate(scores.classes):
            marked = [mark for mark in scores.rows[recording].annotations if mark.scientific_name == name]
            events = join_windows(scores.start_s[here[scores.scores[here, k] >= threshold]], scores.window_s)
            events = [each for each in events if _touch(marked, *each) or not _touch(unnamed, *each)]
            correct = sum(_touch(marked, start, end) for start, end in events)
            hit = sum(any(touches(mark, start, end) for start, end in events) for mark in marked)
            counts += (len(events), correct, len(marked), hit)
    n_predicted, n_correct, n_annotated, n_recalled = counts.tolist()
    return EventCounts(n_predicted, n_correct, n_annotated, n_recalled, len(annotated))


def _touch(marks: Sequence[Annotation], start_s: float, end_s: float) -> bool:
    return any(touches(mark, start_s, end_s) for mark in marks)


def join_windows(start_s: FloatArray, window_s: float) -> list[tuple[float, float]]:
    """Join overlapping and adjacent windows to (start, end) segments in seconds.

    `start_s` [windows] are the starts of windows in ascending order, `window_s` is the length of each window. With a
    gap of up to 1 ms, windows are still adjacent. The segments are ascending; [] without windows.
    """
    joined: list[tuple[float, float]] = []
    for start in start_s.tolist():
        if joined and start <= joined[-1][1] + 1e-3:
            joined[-1] = (joined[-1][0], start + window_s)
        else:
            joined.append((start, start + window_s))
    return joined
