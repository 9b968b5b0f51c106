"""Analysis of the output of an additional model that scores the same windows as the main model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from dawnchorus.inference.analyses.windows import SignalAnalysis, Table, WindowAnalysis, WindowBatch


@dataclass(frozen=True)
class OtherModelAnalysis:
    """Settings of a window analysis that gets the output of an additional model in place of the main model's.

    Implements `WindowAnalysis`.

    Args:
        number: index of the additional model in `LoadedModel.others`.
        analysis: the window analysis.
    """

    number: int
    analysis: WindowAnalysis
    needs_embeddings: ClassVar[bool] = False
    """False: for `analysis`, the models need not compute embeddings."""

    def create(self) -> OtherModelSignalAnalysis:
        """Create the state for one signal, the mono mix or one channel of a recording."""
        return OtherModelSignalAnalysis(self.number, self.analysis.create())


class OtherModelSignalAnalysis:
    """State of an `OtherModelAnalysis` for one signal; implements `SignalAnalysis`.

    Args:
        number: index of the additional model in `LoadedModel.others`.
        state: state of the window analysis that gets the output of the additional model.
    """

    def __init__(self, number: int, state: SignalAnalysis) -> None:
        self._number, self._state = number, state

    def on_windows(self, batch: WindowBatch) -> None:
        """Pass the additional model's output for a batch of windows on; see `SignalAnalysis.on_windows`."""
        self._state.on_windows(replace(batch, output=batch.output.others[self._number]))

    def finish(self) -> Table:
        """Return the table of the window analysis."""
        return self._state.finish()
