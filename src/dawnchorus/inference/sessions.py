"""Sessions of one bundle that threads and forked processes share."""

from __future__ import annotations

import os
from collections import deque

from dawnchorus.arrays import Windows, check_windows
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import Output, Session, open_session


class SessionPool:
    """Runs windows through a bundle's graph: each thread in a session of its own, which the next one uses again."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._idle: deque[Session] = deque()
        self._process_id = os.getpid()

    def __reduce__(self) -> tuple[type[SessionPool], tuple[Bundle]]:
        return SessionPool, (self._bundle,)

    def run(self, windows: Windows, *, embeddings: bool = False) -> Output:
        """Return logits, and embeddings where they are wanted, of windows [n, samples].

        Raises:
            InputError: windows of another length or type.
            ModelError: the graph cannot be loaded.
        """
        check_windows(windows, window_samples=self._bundle.window_samples)
        if os.getpid() != self._process_id:  # after a fork, the threads of the parent's sessions are missing
            self._idle, self._process_id = deque(), os.getpid()
        try:
            session = self._idle.pop()
        except IndexError:
            session = open_session(self._bundle)
        output = session.run(windows, embeddings=embeddings)
        self._idle.append(session)
        return output
