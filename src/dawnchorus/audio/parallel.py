"""Ordered parallel map over recordings, with one decoder process per worker."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from dawnchorus.audio.process import DecoderProcess

Recording = TypeVar("Recording")
Result = TypeVar("Result")

_AHEAD = 4
"""Number of recordings started for each worker before the oldest result is returned."""


def map_recordings(
    work: Callable[[DecoderProcess, Recording], Result], recordings: Iterable[Recording], *, n_workers: int
) -> Iterator[Result]:
    """Yield `work(decoder, recording)` for each recording, in order, computed by `n_workers` threads.

    Each worker thread has a decoder process of its own. Recordings are read lazily, so there may be any number.
    """
    own = threading.local()
    decoders: list[DecoderProcess] = []

    def run(recording: Recording) -> Result:
        if not hasattr(own, "decoder"):
            own.decoder = DecoderProcess()
            decoders.append(own.decoder)
        return work(own.decoder, recording)

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_workers) as pool:
        try:
            for recording in recordings:
                waiting.append(pool.submit(run, recording))
                if len(waiting) >= _AHEAD * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            for decoder in decoders:
                decoder.close()
