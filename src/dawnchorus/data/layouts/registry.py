"""The sources by name; other packages add theirs by entry points of the group `dawnchorus.sources`."""

from __future__ import annotations

from dawnchorus.data.layouts.base import Source
from dawnchorus.data.layouts.search_results import XENO_CANTO
from dawnchorus.data.layouts.voices import VOICES
from dawnchorus.registry import Registry

SOURCES = Registry(Source, (XENO_CANTO, VOICES), noun="source", group="dawnchorus.sources")
