"""The targets by name."""

from __future__ import annotations

from fuzz import archives, labels, metadata, tables, uploads
from fuzz.contract import Target

TARGETS: dict[str, Target] = {
    module.TARGET.name: module.TARGET for module in (metadata, archives, labels, tables, uploads)
}
