"""Analysis that stores the scores of given classes in every window, regardless of thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.inference.analyses.windows import Table, WindowBatch


@dataclass(frozen=True)
class DenseScores:
    """Settings of the analysis that stores scores; implements `WindowAnalysis`."""

    classes: npt.NDArray[np.intp]
    """Indices [n] of the stored classes in the model's output, in the order of the stored scores."""
    needs_embeddings: ClassVar[bool] = False
    """False: the model need not compute embeddings."""

    def create(self) -> ScoreRows:
        """Create the state for one signal, the mono mix or one channel of a recording."""
        return ScoreRows(self.classes)


class ScoreRows:
    """Collector of the scores of one signal (a channel, or the mix of all), in the column `scores`.

    Args:
        classes: indices [n] of the stored classes in the model's output.
    """

    def __init__(self, classes: npt.NDArray[np.intp]) -> None:
        self._classes = classes
        self._scores: list[FloatArray] = []

    def on_windows(self, batch: WindowBatch) -> None:
        """Append the scores of a batch of windows; see `SignalAnalysis.on_windows`."""
        self._scores.append(batch.output.scores[:, self._classes])

    def finish(self) -> Table:
        """Return the table, with one row per window, in order; values of the column `scores` are arrays [n]."""
        return as_rows("scores", self._scores, len(self._classes))


def as_rows(column: str, arrays: list[FloatArray], n: int) -> Table:
    """Concatenate arrays [windows, n] to a table with one column, whose values are float32 arrays [n].

    `column` is the name of the column; `n` is needed if there are no arrays.
    """
    rows = np.empty(sum(map(len, arrays)), [(column, "<f4", (n,))])
    if arrays:
        np.concatenate(arrays, out=rows[column])
    return rows
