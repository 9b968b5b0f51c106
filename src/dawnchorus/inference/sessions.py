"""Pool of inference sessions of a model, shared by threads, and usable after a fork."""

from __future__ import annotations

import os
from collections import deque

import numpy as np

from dawnchorus.arrays import Windows, check_windows
from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import GraphOutput, Session, open_session


class SessionPool:
    """Pool of inference sessions for one bundle, with one session for each thread in use.

    A session is opened when a thread finds no idle one.

    Args:
        bundle: the bundle.
        tta_shifts: number of circular time shifts of each window to average (test-time augmentation); 1 for none.
    """

    def __init__(self, bundle: Bundle, tta_shifts: int = 1) -> None:
        self._bundle, self._tta_shifts = bundle, tta_shifts
        self._idle: deque[Session] = deque()
        self._n_opened = 0
        self._process_id = os.getpid()

    def __reduce__(self) -> tuple[type[SessionPool], tuple[Bundle, int]]:
        return SessionPool, (self._bundle, self._tta_shifts)

    def load(self, n_threads: int) -> None:
        """Open one session in advance, unless there are `n_threads` already.

        `n_threads` is the number of threads that use the pool.

        Raises:
            ModelError: the graph cannot be loaded.
            MissingExtraError: the library that runs the graph is not installed.
        """
        if self._n_opened < n_threads:
            self._idle.append(self._open())

    def warm_up(self, n_threads: int) -> None:
        """Open `n_threads` more sessions, and run each once on silence.

        Raises:
            ModelError: the graph cannot be loaded or run, or its logits are not finite.
            MissingExtraError: the library that runs the graph is not installed.
        """
        silence = np.zeros((1, self._bundle.window_samples), np.float32)
        for _ in range(n_threads):
            session = self._open()
            if not np.isfinite(session.run(silence).logits).all():
                raise ModelError("on silence the model gives numbers that are not finite.", subject=self._bundle.folder)
            self._idle.append(session)

    def run(self, windows: Windows, *, embeddings: bool = False) -> GraphOutput:
        """Run an idle or a new session on windows [n, samples]; compute embeddings only if `embeddings` is True.

        Raises:
            InputError: the windows are not float32 of the bundle's window length.
            ModelError: the graph cannot be loaded or run.
            MissingExtraError: the library that runs the graph is not installed.
        """
        check_windows(windows, window_samples=self._bundle.window_samples)
        if os.getpid() != self._process_id:  # after a fork, the threads of the parent's sessions are missing
            self._idle, self._n_opened, self._process_id = deque(), 0, os.getpid()
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._open()
        output = session.run(windows, embeddings=embeddings)
        self._idle.append(session)
        return output

    def _open(self) -> Session:
        self._n_opened += 1  # of two threads at once one may be lost, and a session more is opened
        return open_session(self._bundle, tta_shifts=self._tta_shifts)
