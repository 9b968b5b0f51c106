"""Estimate of the time that the processing of an upload takes, from the upload's size."""

from __future__ import annotations

import threading

FIRST_COST_S = 2e-8
"""Assumed seconds of work per byte before the first measurement."""

LEARNING_RATE, MAX_JUMP = 0.1, 10.0
"""Weight of a new measurement in the moving average, and the maximum factor by which it may exceed the average."""

LEAST_BYTES = 256 << 10
"""Size that is assumed for smaller uploads, which also have to be opened and have at least one window."""


class CostEstimate:
    """Exponential moving average of the seconds of work per byte of an upload; thread-safe.

    The average starts at `FIRST_COST_S`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cost_s = FIRST_COST_S

    def work_s(self, n_bytes: int) -> float:
        """Return the estimated seconds of work for an upload of `n_bytes`.

        An `n_bytes` below `LEAST_BYTES` counts as `LEAST_BYTES`.
        """
        return max(n_bytes, LEAST_BYTES) * self._cost_s

    def update(self, n_bytes: int, elapsed_s: float) -> None:
        """Update the average with an upload of `n_bytes` that took `elapsed_s` seconds of work.

        An upload that took more than `MAX_JUMP` times the average per byte counts as `MAX_JUMP` times the average. An
        `n_bytes` below `LEAST_BYTES` counts as `LEAST_BYTES`.
        """
        with self._lock:
            cost_s = min(elapsed_s / max(n_bytes, LEAST_BYTES), MAX_JUMP * self._cost_s)
            self._cost_s += LEARNING_RATE * (cost_s - self._cost_s)
