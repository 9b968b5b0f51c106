"""The inference engine: a pool of threads that scores recordings.

A recording in the engine is `Work`: it provides windows and receives the model's output for them. There are two queues:
`waiting`, and `active` for recordings that are being decoded. Each thread repeats the same steps. If there is room, it
admits the next waiting recording. Otherwise it takes the first active recording, pulls its next windows, puts the
recording at the end of the queue, and runs the model. There is room while fewer recordings than the limit are active,
and fewer of them than there are threads have not provided windows yet. So one long recording keeps all threads busy
without delaying short ones, and short ones are not decoded further ahead than needed. Incomplete batches are filled
with windows of other active recordings with the same model.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, cast

import numpy as np

from dawnchorus.audio.decoder_pool import DecoderPool
from dawnchorus.errors import OverloadedError
from dawnchorus.inference.analyses.windows import WindowOutput
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.work import NumberedWindows, ResultT, Work, WorkFuture
from dawnchorus.models.runner import BATCH_WINDOWS

N_SHARED_DECODERS = 4
"""Number of decoders for headers, clips and spectrograms; a server renders two spectrograms at once."""

CLOSING_S = 10.0
"""Maximum number of seconds to wait for a thread's last batch when the engine closes."""


@dataclass(eq=False)
class _Entry(Generic[ResultT]):
    """A recording in the engine, with its state."""

    work: Work[ResultT]
    future: WorkFuture[ResultT]
    work_s: float
    wait_s: float
    submitted_s: float = field(default_factory=time.monotonic)
    n_out: int = 0
    """Number of batches whose output was not added yet."""
    is_open: bool = False
    has_begun: bool = False
    """True once the recording has provided windows."""
    is_decoded: bool = False
    """True if the recording has no more windows."""
    is_over: bool = False
    """True if the future is done, or about to be."""


@dataclass(frozen=True)
class _Batch:
    entry: _Entry[Any]
    windows: NumberedWindows


class InferenceEngine:
    """Thread pool that scores recordings; the module's docstring describes the scheduling.

    In a `with` statement, the engine is closed at the end.

    Args:
        n_threads: number of threads, each of which uses one core.
        max_active: maximum number of recordings that are decoded at the same time.
        max_batch_delay_s: maximum seconds for which an incomplete batch waits for windows of other recordings.

    Attributes:
        decoders: pool of decoder processes, from which recordings borrow.
        n_windows: number of windows scored so far.
    """

    def __init__(self, *, n_threads: int, max_active: int, max_batch_delay_s: float = 0.0) -> None:
        self.decoders = DecoderPool(N_SHARED_DECODERS, n_reserved=max_active, n_kept=n_threads)
        self.n_windows = 0
        """Number of windows scored so far."""
        self._max_active, self._max_batch_delay_s = max_active, max_batch_delay_s
        self._changed = threading.Condition()
        self._waiting: deque[_Entry[Any]] = deque()
        self._active: deque[_Entry[Any]] = deque()
        self._pulled: set[_Entry[Any]] = set()
        """Active recordings that a thread is opening or pulling windows from."""
        self._n_unfinished = 0
        self._is_closing = self._is_aborted = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(n_threads)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def n_queued(self) -> int:
        """Number of recordings that wait for admission or for their next batch."""
        return len(self._waiting) + len(self._active)

    @property
    def waiting_s(self) -> float:
        """Estimated seconds of work of the recordings that wait for admission."""
        with self._changed:
            return sum(entry.work_s for entry in self._waiting if not entry.future.cancelled())

    def submit(self, work: Work[ResultT], *, work_s: float = 0.0, wait_s: float = math.inf) -> WorkFuture[ResultT]:
        """Submit a recording for scoring, and return the future of its result, `Work.result()`.

        The future raises what a method of `work` or the model raises, such as AudioError or ModelError.

        Args:
            work: the recording.
            work_s: estimated seconds of work, for `waiting_s`.
            wait_s: maximum seconds until the recording is admitted; after that, its future raises OverloadedError.

        Raises:
            OverloadedError: the engine is closing.
        """
        entry = _Entry(work, WorkFuture(work), work_s, wait_s)
        with self._changed:
            if self._is_closing:
                raise OverloadedError("the inference engine is closing.", retry_after_s=CLOSING_S)
            self._waiting.append(entry)
            self._n_unfinished += 1
            self._changed.notify()
        return entry.future

    def complete(
        self, recordings: Iterable[Work[ResultT]], *, interval_s: float
    ) -> Generator[WorkFuture[ResultT] | None, None, None]:
        """Score recordings, and yield their futures as they complete, also those of recordings that failed.

        `recordings` are read lazily, a few ahead. If no recording completes for `interval_s` seconds, None is yielded,
        so that the caller can show progress.

        Raises:
            OverloadedError: the engine is closing.
        """
        done: SimpleQueue[WorkFuture[ResultT]] = SimpleQueue()
        left = iter(recordings)
        n_out, n_ahead = 0, self._max_active + BATCH_WINDOWS * len(self._threads)  # each window of another recording
        while True:
            for work in islice(left, n_ahead - n_out):
                self.submit(work).add_done_callback(cast(Callable[[Future[ResultT]], None], done.put))
                n_out += 1
            if not n_out:
                return
            try:
                future = done.get(timeout=interval_s)
            except Empty:
                yield None
            else:
                n_out -= 1
                yield future

    def close(self, *, grace_s: float = 0.0) -> None:
        """Stop the engine: let recordings finish for up to `grace_s` seconds, then cancel the futures of the others."""
        until_s = time.monotonic() + grace_s
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            while self._n_unfinished and (left_s := until_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            self._is_aborted = True
            left = [*self._waiting, *self._active, *self._pulled]
            self._waiting.clear()
            self._changed.notify_all()
        self.decoders.close()
        for entry in left:
            entry.future.cancel()
            self._fail(entry, CancelledError())
        for thread in self._threads:
            thread.join(CLOSING_S)

    # ------------------------------------------------------------------ threads

    def _run(self) -> None:
        carried: _Batch | None = None
        while (batch := carried or self._next_batch()) is not None:
            group, carried = self._fill(batch)
            self._score(group)

    def _next_batch(self) -> _Batch | None:
        """Wait for windows, and return a batch of them; None when the engine has closed."""
        while True:
            self._reject_late()
            with self._changed:
                while (entry := self._pop_entry()) is None:
                    if self._is_aborted or (self._is_closing and not self._n_unfinished):
                        return None
                    self._changed.wait()
            if (batch := self._pull(entry)) is not None:
                return batch

    def _fill(self, batch: _Batch) -> tuple[list[_Batch], _Batch | None]:
        """Fill a batch with windows of other recordings.

        Returns:
            The batches to run together, and a batch that was pulled but does not fit, or None.
        """
        self._reject_late()
        until_s = time.monotonic() + self._max_batch_delay_s
        group, n = [batch], len(batch.windows)
        while n < BATCH_WINDOWS:
            with self._changed:
                entry = self._pop_entry(batch.entry.work.model)
            if entry is None:
                break
            if entry.is_open and not entry.work.is_ready(within_s=max(until_s - time.monotonic(), 0.0)):
                self._put_back(entry)
                break
            other = self._pull(entry)
            if other is not None and n + len(other.windows) > BATCH_WINDOWS:
                return group, other
            if other is not None:
                group.append(other)
                n += len(other.windows)
        return group, None

    def _pop_entry(self, model: LoadedModel | None = None) -> _Entry[Any] | None:
        """Remove the next waiting recording if there is room, else the first active one that is ready, and return it.

        With `model`, only active recordings of this model are considered. If none is ready, the first one is returned;
        None if there is no recording.
        """
        if self._is_aborted:
            return None
        if self._waiting and self._has_room():
            entry = self._waiting.popleft()
        else:
            active = [each for each in self._active if model in (None, each.work.model)]
            if not active:
                return None
            entry = next((each for each in active if each.work.is_ready(within_s=0.0)), active[0])
            self._active.remove(entry)
        self._pulled.add(entry)
        return entry

    def _has_room(self) -> bool:
        """Return True if another recording may be admitted; see the module's docstring."""
        begun = [entry.has_begun for entry in (*self._active, *self._pulled)]
        return len(begun) < self._max_active and begun.count(False) < len(self._threads)

    def _put_back(self, entry: _Entry[Any]) -> None:
        """Put a recording from which nothing was pulled back at the start of the queue."""
        with self._changed:
            self._pulled.discard(entry)
            is_over = entry.is_over
            if not is_over:
                self._active.appendleft(entry)
            self._changed.notify()
        if is_over:
            entry.work.close()

    def _pull(self, entry: _Entry[Any]) -> _Batch | None:
        """Pull windows of a recording, and put it back at the end of the queue.

        Returns None if the recording was only opened, has ended or failed.
        """
        windows, failure = None, None
        was_open, entry.is_open = entry.is_open, True
        try:
            if entry.future.cancelled():
                raise CancelledError
            if was_open:
                windows = entry.work.next_windows()
            else:
                entry.work.open()
                entry.work.model.load(len(self._threads))  # while the decoder begins
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            failure = error
        with self._changed:
            self._pulled.discard(entry)
            entry.n_out += windows is not None
            entry.has_begun |= windows is not None
            entry.is_decoded = was_open and failure is None and (windows is None or windows.is_last)
            if failure is None and not entry.is_decoded and not entry.is_over:
                self._active.append(entry)
            is_complete = entry.is_decoded and not entry.n_out
            self._changed.notify_all()
        if failure is not None:
            self._fail(entry, failure)
        if entry.is_over:
            entry.work.close()
        elif is_complete:
            self._resolve(entry)
        return None if windows is None else _Batch(entry, windows)

    def _score(self, group: list[_Batch]) -> None:
        """Run the model on batches together, and pass each recording its part of the output."""
        work = [batch.entry.work for batch in group]
        samples = [batch.windows.samples for batch in group]
        try:
            output = work[0].model.run(
                samples[0] if len(samples) == 1 else np.concatenate(samples),
                embeddings=any(each.needs_embeddings for each in work),
            )
        except BaseException as error:  # noqa: BLE001 - it is the callers'
            for batch in group:
                self._fail(batch.entry, error)
            return
        start = 0
        for batch in group:
            stop = start + len(batch.windows)
            self._add(batch, output.rows(start, stop))
            start = stop

    def _add(self, batch: _Batch, output: WindowOutput) -> None:
        entry = batch.entry
        try:
            entry.work.add(batch.windows.first, output)
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self._fail(entry, error)
            return
        with self._changed:
            self.n_windows += len(batch.windows)
            entry.n_out -= 1
            is_complete = entry.is_decoded and not entry.n_out
        if is_complete:
            self._resolve(entry)

    # ------------------------------------------------------------------ ends

    def _reject_late(self) -> None:
        """Remove waiting recordings that were cancelled or have waited too long."""
        now = time.monotonic()
        with self._changed:
            late = [
                entry for entry in self._waiting if entry.future.cancelled() or now - entry.submitted_s > entry.wait_s
            ]
            for entry in late:
                self._waiting.remove(entry)
        for entry in late:
            reason = f"It has waited for {entry.wait_s:g} s. Try again later."
            self._fail(entry, OverloadedError(reason, retry_after_s=entry.wait_s))

    def _resolve(self, entry: _Entry[Any]) -> None:
        """Set the result of a recording's future."""
        try:
            result = entry.work.result()
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self._fail(entry, error)
            return
        if self._finish(entry) and entry.future.set_running_or_notify_cancel():
            entry.future.set_result(result)

    def _fail(self, entry: _Entry[Any], error: BaseException) -> None:
        """Set an error as the future's outcome, and close the work; if a thread is using it, that thread closes it."""
        if not self._finish(entry):
            return
        with self._changed:
            if entry in self._active:
                self._active.remove(entry)
            is_pulled = entry in self._pulled
        if not is_pulled:
            entry.work.close()
        with suppress(InvalidStateError):  # cancelled
            entry.future.set_exception(error)

    def _finish(self, entry: _Entry[Any]) -> bool:
        """Mark a recording as ended; return True only for the first call."""
        with self._changed:
            is_first = not entry.is_over
            entry.is_over = True
            self._n_unfinished -= is_first
            self._changed.notify_all()
        return is_first
