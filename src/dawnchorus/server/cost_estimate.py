"""Estimate of the work that an upload is, from its size."""

from __future__ import annotations

import threading

FIRST_COST_S = 2e-8
"""Seconds of work per byte before the first measurement."""

LEARNING_RATE, MAX_JUMP = 0.1, 10.0

LEAST_BYTES = 256 << 10
"""Minimum size for estimates of work: a smaller recording still has to be opened, and has one window."""


class CostEstimate:
    """Moving average of the seconds of work per byte of an upload."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cost_s = FIRST_COST_S

    def work_s(self, n_bytes: int) -> float:
        """Return the estimated work of a recording."""
        return max(n_bytes, LEAST_BYTES) * self._cost_s

    def update(self, n_bytes: int, elapsed_s: float) -> None:
        """Update the average with the measured work of a recording."""
        with self._lock:
            cost_s = min(elapsed_s / max(n_bytes, LEAST_BYTES), MAX_JUMP * self._cost_s)
            self._cost_s += LEARNING_RATE * (cost_s - self._cost_s)
