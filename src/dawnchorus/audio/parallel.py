"""Ordered parallel map over recordings, with one decoder process per worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from dawnchorus.audio.decoder_pool import DecoderPool
from dawnchorus.audio.process import DecoderProcess

Recording = TypeVar("Recording")
Result = TypeVar("Result")

_AHEAD = 4
"""Maximum number of pending recordings per worker, including finished ones before a slower one."""


def map_recordings(
    work: Callable[[DecoderProcess, Recording], Result], recordings: Iterable[Recording], *, n_workers: int
) -> Generator[Result, None, None]:
    """Yield `work(decoder, recording)` for each recording, in order, computed by `n_workers` threads.

    `recordings` is read lazily, a few items ahead, so it may be of any length. Each thread has a decoder of its own. An
    exception of `work` is raised in the place of its result, and ends the iteration: later results are lost.
    """
    decoders = DecoderPool(n_workers, n_kept=n_workers)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_workers) as pool, closing(decoders):
        try:
            for recording in recordings:
                waiting.append(pool.submit(_run, decoders, work, recording))
                if len(waiting) >= _AHEAD * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _run(decoders: DecoderPool, work: Callable[[DecoderProcess, Recording], Result], recording: Recording) -> Result:
    with decoders.decoder() as decoder:
        return work(decoder, recording)
