"""File names of a run's checkpoints."""

from __future__ import annotations

LAST, BEST = "last", "best"
"""Stems of the checkpoints of the last epoch and of the best epoch."""
