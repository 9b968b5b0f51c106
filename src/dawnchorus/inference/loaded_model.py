"""A bundle in memory, ready to score windows on several threads."""

from __future__ import annotations

import threading

import numpy as np

from dawnchorus.errors import ModelError
from dawnchorus.inference.analyses.windows import FloatArray, WindowOutput
from dawnchorus.inference.preparation import Cleaner
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import Session, apply_activation, open_session


class LoadedModel:
    """A bundle with a session for each thread that scores with it.

    Args:
        bundle: the bundle.
        cleaner: does the bundle's cleaning.
        n_sessions: number of these threads.
        tta_shifts: see `open_session`.
    """

    def __init__(self, bundle: Bundle, cleaner: Cleaner, *, n_sessions: int, tta_shifts: int = 1) -> None:
        self.bundle, self.cleaner = bundle, cleaner
        self._n_sessions, self._tta_shifts = n_sessions, tta_shifts
        self._lock = threading.Lock()
        self._n_opened = 0
        self._idle: list[Session] = []

    def load(self) -> None:
        """Open a session ahead of its use, unless there is one for each thread.

        Raises:
            ModelError: the bundle cannot be run.
        """
        if self._n_opened < self._n_sessions:
            self._idle.append(self._open())

    def warm_up(self) -> None:
        """Open all sessions, and run each once.

        Raises:
            ModelError: the bundle cannot be run, or gives numbers that are not finite.
        """
        silence = np.zeros((1, self.bundle.window_samples), np.float32)
        for _ in range(self._n_sessions):
            session = self._open()
            if not np.isfinite(session.run(silence).logits).all():
                raise ModelError(f"{self.bundle.folder}: on silence the model gives numbers that are not finite.")
            self._idle.append(session)

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> WindowOutput:
        """Return the output for windows [n, samples].

        Raises:
            ModelError: the bundle cannot be run.
        """
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._open()
        try:
            output = session.run(windows, embeddings=embeddings)
        finally:
            self._idle.append(session)
        return WindowOutput(apply_activation(output.logits, self.bundle.info.activation), output.embeddings)

    def _open(self) -> Session:
        with self._lock:
            self._n_opened += 1
        return open_session(self.bundle, tta_shifts=self._tta_shifts)
