"""Protocol of window analyses, which process windows and the model's output for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.sample_analyses import Table as Table  # noqa: PLC0414 - analyses take it from here


@dataclass(frozen=True)
class WindowOutput:
    """Output of a model for n windows."""

    scores: FloatArray
    """Scores [n, classes], 0 to 1."""
    embeddings: FloatArray | None = None
    """Embeddings [n, dim]; None if they were not requested, or the model has none."""
    others: tuple[WindowOutput, ...] = ()
    """Output of other models for the same windows, in the order of `LoadedModel.others`."""

    def rows(self, start: int, stop: int) -> WindowOutput:
        """Return the output for the windows from `start` to before `stop`, counted from 0 in this output."""
        embeddings = None if self.embeddings is None else self.embeddings[start:stop]
        others = tuple(each.rows(start, stop) for each in self.others)
        return WindowOutput(self.scores[start:stop], embeddings, others)


@dataclass(frozen=True)
class WindowBatch:
    """Consecutive windows of one signal (the mono mix or one channel), and the model's output for them."""

    first: int
    """Number of the first window in the signal, from 0."""
    samples: FloatArray
    """Samples [n, samples], -1 to 1, of the n windows."""
    output: WindowOutput
    """Output of the model for the n windows."""

    def find_invalid(self) -> tuple[int, str] | None:
        """Return the number of the first window with scores that are not finite, and "scores"; None if all are finite.

        If only embeddings are not finite, the result is the first window with such an embedding, and "embeddings".
        Windows are numbered as in `first`.
        """
        for kind, values in (("scores", self.output.scores), ("embeddings", self.output.embeddings)):
            if values is not None and not np.isfinite(values).all():
                return self.first + int(np.isfinite(values).all(axis=1).argmin()), kind
        return None


class SignalAnalysis(Protocol):
    """Protocol of the state of a window analysis for one signal, the mono mix or one channel of a recording."""

    def on_windows(self, batch: WindowBatch) -> None:
        """Process a batch of windows; batches arrive in order, one at a time.

        Raises:
            InputError: the model's output lacks what the analysis needs, such as embeddings.
        """
        ...

    def finish(self) -> Table:
        """Return the table of the signal, after the last window; called also if there was no window."""
        ...


class WindowAnalysis(Protocol):
    """Protocol of the settings of a window analysis, which threads share; `create` makes the state of one signal."""

    needs_embeddings: ClassVar[bool]
    """True if the model must compute embeddings."""

    def create(self) -> SignalAnalysis:
        """Create the state for one signal, the mono mix or one channel of a recording."""
        ...
