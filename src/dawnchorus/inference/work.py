"""Work of the inference engine: the protocol of recordings under way, and their futures."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dawnchorus.arrays import FloatArray
from dawnchorus.inference.analyses.windows import WindowOutput
from dawnchorus.inference.loaded_model import LoadedModel

ResultT = TypeVar("ResultT")
ResultT_co = TypeVar("ResultT_co", covariant=True)


@dataclass(frozen=True)
class NumberedWindows:
    """Windows [n, samples] of a recording from number `first` on; `is_last` if no others follow."""

    first: int
    samples: FloatArray
    is_last: bool = False

    def __len__(self) -> int:
        return len(self.samples)


class Work(Protocol[ResultT_co]):
    """A recording under way; all but `add` are called by one thread at a time."""

    @property
    def model(self) -> LoadedModel:
        """Model that scores its windows."""
        ...

    @property
    def needs_embeddings(self) -> bool:
        """True if the model has to give embeddings."""
        ...

    @property
    def share_done(self) -> float:
        """Share of its windows that were scored, from 0 to 1, as far as their number is known."""
        ...

    def open(self) -> None:
        """Begin to decode ahead; called once, before anything else."""
        ...

    def is_ready(self, *, within_s: float) -> bool:
        """Return True if windows can be had with little waiting, or can be in this time."""
        ...

    def next_windows(self) -> NumberedWindows | None:
        """Return the next windows, at most `BATCH_WINDOWS`; None if there are no others."""
        ...

    def add(self, first_window: int, output: WindowOutput) -> None:
        """Add the output for windows; from any thread, in any order."""
        ...

    def result(self) -> ResultT_co:
        """Return the result, after the last output."""
        ...

    def close(self) -> None:
        """Give up what is left to decode."""
        ...


class WorkFuture(Future[ResultT]):
    """Result of work in the engine; to cancel it ends the work."""

    def __init__(self, work: Work[ResultT]) -> None:
        super().__init__()
        self.work = work
