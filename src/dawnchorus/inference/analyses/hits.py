"""Analysis that stores hits: scores at or above the threshold of their class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.inference.analyses.windows import Table, WindowBatch

HIT = np.dtype([("window", "<i4"), ("class", "<i4"), ("score", "<f4")])
"""Type of a hit: number of the window, index of the class in the model's output, and score."""


@dataclass(frozen=True)
class ScoreFilter:
    """Settings of the analysis that stores hits, scores at or above a threshold; implements `WindowAnalysis`.

    Args:
        thresholds: minimum score of each class [classes], in the order of the model's output.
        top: maximum number of hits in a window, those with the highest scores, and of equal scores those with the lower
            index of the class; None for no limit.
    """

    thresholds: FloatArray
    top: int | None = None
    needs_embeddings: ClassVar[bool] = False
    """False: the model need not compute embeddings."""

    def create(self) -> Hits:
        """Create the state for one signal, the mono mix or one channel of a recording."""
        return Hits(self)

    def apply(self, scores: FloatArray, first_window: int) -> npt.NDArray[np.void]:
        """Return the hits (dtype `HIT`) in `scores` [n, classes] of the windows from number `first_window` on.

        Hits are ordered by window and, within a window, by descending score; equal scores by index of the class.
        """
        is_kept = scores >= self.thresholds
        if self.top is not None and self.top < scores.shape[1]:
            # What is below the last rank is not worth sorting; equal scores at the last rank are sorted out below.
            last = np.partition(np.where(is_kept, scores, -np.inf), -self.top, axis=1)[:, -self.top]
            is_kept &= scores >= last[:, np.newaxis]
        rows, classes = np.nonzero(is_kept)
        hits = np.empty(len(rows), HIT)
        hits["window"] = rows + first_window
        hits["class"] = classes
        hits["score"] = scores[rows, classes]
        hits = hits[np.lexsort((hits["class"], -hits["score"], hits["window"]))]
        if self.top is None or not len(hits):
            return hits
        starts = np.searchsorted(hits["window"], hits["window"], side="left")
        return hits[np.arange(len(hits)) - starts < self.top]


class Hits:
    """Collector of the hits in one signal (a channel, or the mix of all), in the order of windows.

    Args:
        score_filter: filter that decides which scores are hits.
    """

    def __init__(self, score_filter: ScoreFilter) -> None:
        self._score_filter = score_filter
        self._hits: list[npt.NDArray[np.void]] = []

    def on_windows(self, batch: WindowBatch) -> None:
        """Append the hits in a batch of windows; see `SignalAnalysis.on_windows`."""
        self._hits.append(self._score_filter.apply(batch.output.scores, batch.first))

    def finish(self) -> Table:
        """Return all hits as an array of dtype `HIT`: number of the window, index of the class, and score."""
        return np.concatenate([np.empty(0, HIT), *self._hits])
