"""Names of a run's checkpoints."""

from __future__ import annotations

LAST, BEST = "last", "best"
"""Of the last epoch, and of the best one."""
