"""Pool of decoder processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.errors import OverloadedError

IDLE_S = 60.0
"""Seconds after which an unused surplus decoder is closed; checked whenever a decoder is given back."""


class DecoderPool:
    """Pool of decoder processes, each used by one thread at a time.

    Args:
        n_shared: maximum number of decoders in use by `decoder` at the same time.
        n_reserved: additional number of decoders for direct calls of `borrow`, which so need not wait for `decoder`.
        n_kept: number of idle decoders that are kept open. Others that were idle for more than `IDLE_S` seconds are
            closed when the next decoder is given back.
    """

    def __init__(self, n_shared: int, *, n_reserved: int = 0, n_kept: int) -> None:
        self.limit, self._n_kept = n_shared + n_reserved, n_kept
        self._shared = threading.Semaphore(n_shared)
        self._changed = threading.Condition()
        self._idle: list[tuple[float, DecoderProcess]] = []
        """Idle decoders with the time of their last use, in this order; the last one is borrowed first."""
        self._borrowed: set[DecoderProcess] = set()
        self._is_closed = False

    def borrow(self) -> DecoderProcess:
        """Wait for a free decoder and return it; pass it to `give_back` after use.

        At most `n_shared + n_reserved` decoders are borrowed at the same time.

        Raises:
            OverloadedError: the pool is closed.
        """
        with self._changed:
            while not self._is_closed and len(self._borrowed) >= self.limit:
                self._changed.wait()
            if self._is_closed:
                raise OverloadedError("the decoders are closed.", retry_after_s=IDLE_S)
            decoder = self._idle.pop()[1] if self._idle else DecoderProcess()
            self._borrowed.add(decoder)
            return decoder

    def give_back(self, decoder: DecoderProcess) -> None:
        """Return a borrowed decoder to the pool; if a recording is still open in it, the process is ended."""
        decoder.abandon()
        now = time.monotonic()
        surplus: list[DecoderProcess] = []
        with self._changed:
            self._borrowed.discard(decoder)
            if self._is_closed:
                surplus.append(decoder)
            else:
                self._idle.append((now, decoder))
            while len(self._idle) > self._n_kept and now - self._idle[0][0] > IDLE_S:
                surplus.append(self._idle.pop(0)[1])
            self._changed.notify()
        for each in surplus:
            each.close()

    @contextmanager
    def decoder(self) -> Iterator[DecoderProcess]:
        """Wait for a shared decoder, and borrow it for a `with` block.

        Raises:
            OverloadedError: the pool is closed.
        """
        with self._shared:
            decoder = self.borrow()
            try:
                yield decoder
            finally:
                self.give_back(decoder)

    def close(self) -> None:
        """End all decoder processes; recordings that are being decoded fail with a DecoderCrashError."""
        with self._changed:
            self._is_closed = True
            decoders = [*self._borrowed, *(each for _, each in self._idle)]
            self._idle.clear()
            self._changed.notify_all()
        for decoder in decoders:
            decoder.close()
