"""Reports after each epoch of a run, and the names of its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LAST, BEST = "last", "best"
"""Names of checkpoints: of the last epoch, and of the best one."""


@dataclass(frozen=True)
class EpochReport:
    """Progress of a run after an epoch."""

    epoch: int
    n_epochs: int
    metrics: dict[str, float]
    left_s: float


OnEpoch = Callable[[EpochReport], None]
