"""Protocol of a recording in the inference engine, and its future."""

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
    """Windows [n, samples] of a recording from number `first` on.

    `is_last` is True for the recording's last windows.
    """

    first: int
    samples: FloatArray
    is_last: bool = False

    def __len__(self) -> int:
        return len(self.samples)


class Work(Protocol[ResultT_co]):
    """Protocol of a recording that the engine scores; methods other than `add` are called by one thread at a time."""

    @property
    def model(self) -> LoadedModel:
        """Model that scores the windows."""
        ...

    @property
    def needs_embeddings(self) -> bool:
        """True if the model must compute embeddings."""
        ...

    @property
    def share_done(self) -> float:
        """Share of the windows that are scored, 0 to 1; 0 as long as it is not known."""
        ...

    def open(self) -> None:
        """Start decoding; called once, before all other methods.

        Raises:
            AudioError: the recording has to be decoded before its windows can be, for cleaning, and that failed.
            OverloadedError: no decoder is available, since the pool is closed.
        """
        ...

    def is_ready(self, *, within_s: float) -> bool:
        """Return True if windows are available, or will be within `within_s` seconds."""
        ...

    def next_windows(self) -> NumberedWindows | None:
        """Return at most `BATCH_WINDOWS` windows; None after the last ones.

        Raises:
            AudioError: the recording cannot be decoded, or exceeds the limits.
        """
        ...

    def add(self, first_window: int, output: WindowOutput) -> None:
        """Add the model's output for windows from number `first_window` on; called by any thread, in any order.

        Raises:
            ModelError: a score or an embedding is not finite.
        """
        ...

    def result(self) -> ResultT_co:
        """Return the result, after the last output was added."""
        ...

    def close(self) -> None:
        """Cancel the remaining decoding, and release the decoder."""
        ...


class WorkFuture(Future[ResultT]):
    """Future of a recording in the engine; cancelling it stops the work."""

    def __init__(self, work: Work[ResultT]) -> None:
        super().__init__()
        self.work = work
