"""Analyses of another model's output for the same windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from dawnchorus.inference.analyses.windows import SignalAnalysis, Table, WindowAnalysis, WindowBatch


@dataclass(frozen=True)
class OfModel:
    """Analysis of the output of one of several models.

    Args:
        number: position of the model in `LoadedModel.others`.
        analysis: an analysis of scores.
    """

    number: int
    analysis: WindowAnalysis
    needs_embeddings: ClassVar[bool] = False

    def create(self) -> SignalOfModel:
        """Create the state for another signal."""
        return SignalOfModel(self.number, self.analysis.create())


class SignalOfModel:
    """State for one signal: that of the analysis, with the output of its model."""

    def __init__(self, number: int, state: SignalAnalysis) -> None:
        self._number, self._state = number, state

    def on_windows(self, batch: WindowBatch) -> None:
        """Add the model's output for windows; see `SignalAnalysis`."""
        self._state.on_windows(replace(batch, output=batch.output.others[self._number]))

    def finish(self) -> Table:
        """Return the table of the analysis."""
        return self._state.finish()
