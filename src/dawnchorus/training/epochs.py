"""Names of a run's checkpoints."""

from __future__ import annotations

LAST, BEST = "last", "best"
"""Checkpoints of the last epoch, and of the best one."""
