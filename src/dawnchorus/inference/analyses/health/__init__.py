"""Recorder health: faults of recordings, and a verdict in words on each recorder."""

from __future__ import annotations

from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.analyses.health.measurements import Health
from dawnchorus.inference.analyses.health.recorders import TABLES, summarize

HEALTH = Analysis("health", "faults of recordings, and a verdict on each recorder", Health, summarize, TABLES)
