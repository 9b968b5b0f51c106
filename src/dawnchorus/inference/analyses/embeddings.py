"""Analysis that stores the embedding of every window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InputError
from dawnchorus.inference.analyses.dense_scores import as_rows
from dawnchorus.inference.analyses.windows import Table, WindowBatch


@dataclass(frozen=True)
class Embeddings:
    """Settings of the analysis that stores embeddings, which has no options; implements `WindowAnalysis`."""

    needs_embeddings: ClassVar[bool] = True
    """True: the model must compute embeddings."""

    def create(self) -> EmbeddingRows:
        """Create the state for one signal, the mono mix or one channel of a recording."""
        return EmbeddingRows()


class EmbeddingRows:
    """Collector of the embeddings of one signal (a channel, or the mix of all), in the column `embedding`."""

    def __init__(self) -> None:
        self._embeddings: list[FloatArray] = []

    def on_windows(self, batch: WindowBatch) -> None:
        """Append the embeddings of a batch of windows; see `SignalAnalysis.on_windows`.

        Raises:
            InputError: the model has no embeddings.
        """
        embeddings = batch.output.embeddings
        if embeddings is None:
            raise InputError("embeddings: the model has none. Choose another one (`dawnchorus models list`).")
        self._embeddings.append(embeddings)

    def finish(self) -> Table:
        """Return the table, with one row per window, in order; values of the column `embedding` are arrays [dim]."""
        return as_rows("embedding", self._embeddings, self._embeddings[0].shape[1] if self._embeddings else 0)
