"""Registry of analyses; other packages add theirs by entry points of the group `dawnchorus.analyses`."""

from __future__ import annotations

from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.analyses.health import HEALTH
from dawnchorus.inference.analyses.indices import INDICES
from dawnchorus.registry import Registry

ANALYSES = Registry(Analysis, (HEALTH, INDICES), noun="analysis", group="dawnchorus.analyses")
