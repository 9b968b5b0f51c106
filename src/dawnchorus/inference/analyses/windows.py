"""The protocol of analyses of windows, after a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.sample_analyses import Table as Table  # noqa: PLC0414 - analyses take it from here


@dataclass(frozen=True)
class WindowOutput:
    """Output of a model for n windows: scores [n, classes] and, where they were requested, embeddings [n, dim]."""

    scores: FloatArray
    embeddings: FloatArray | None = None

    def rows(self, start: int, stop: int) -> WindowOutput:
        """Return the output for some of the windows."""
        embeddings = None if self.embeddings is None else self.embeddings[start:stop]
        return WindowOutput(self.scores[start:stop], embeddings)


@dataclass(frozen=True)
class WindowBatch:
    """Windows of one signal, from number `first` on, with a model's output for them."""

    first: int
    samples: FloatArray
    """[n, samples]"""
    output: WindowOutput


class SignalAnalysis(Protocol):
    """State of an analysis for one signal of a recording."""

    def on_windows(self, batch: WindowBatch) -> None:
        """Add windows; batches come in order, one at a time."""
        ...

    def finish(self) -> Table:
        """Return the rows, after the last window."""
        ...


class WindowAnalysis(Protocol):
    """A computation on windows with its settings; threads share it."""

    needs_embeddings: ClassVar[bool]
    """True if the model has to give embeddings."""

    def create(self) -> SignalAnalysis:
        """Return the state for another signal."""
        ...
