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
    """Consecutive windows of a recording."""

    first: int
    """Number of the first of these windows in the recording, from 0.

    If channels are scored separately, the numbers continue from one channel to the next.
    """
    samples: FloatArray
    """Mono samples of the windows [n, samples]."""
    is_last: bool = False
    """True if no windows follow; False if more windows may follow, so that `Work.next_windows` has to be called."""

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
        """Share of the windows that are scored, 0 to 1; 0 if the share is not known."""
        ...

    def open(self) -> None:
        """Start decoding; called once, before all other methods.

        Raises:
            AudioError: the bundle's cleaning has to decode the recording first, and that failed.
            OverloadedError: no decoder is available, since the pool of decoders is closed.
        """
        ...

    def is_ready(self, *, within_s: float) -> bool:
        """Wait at most `within_s` seconds until `next_windows` can return or raise at once; return True if it can."""
        ...

    def next_windows(self) -> NumberedWindows | None:
        """Return the next windows, at most `BATCH_WINDOWS`, in temporal order; None after the last windows.

        If channels are scored separately, all windows of a channel come before those of the next channel.

        Raises:
            AudioError: the recording cannot be decoded, or exceeds the limits.
            MissingExtraError: a library that the preparation of the recording needs is not installed.
        """
        ...

    def add(self, first_window: int, output: WindowOutput) -> None:
        """Add the model's output for the windows from number `first_window` on; called by any thread, in any order.

        `first_window` is the `first` of the `NumberedWindows`.

        Raises:
            ModelError: a score or an embedding is not finite.
            InputError: embeddings are needed, and the output has none.
        """
        ...

    def result(self) -> ResultT_co:
        """Return the result of the recording; called once, after the last output was added."""
        ...

    def close(self) -> None:
        """Cancel the remaining decoding, and release the decoder; called also after an error."""
        ...


class WorkFuture(Future[ResultT]):
    """Future of a recording in the engine; cancelling the future stops the decoding and scoring of the recording.

    Args:
        work: the recording.
    """

    def __init__(self, work: Work[ResultT]) -> None:
        super().__init__()
        self.work = work
