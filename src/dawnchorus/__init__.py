"""Dawn Chorus: from any recording to a table of birds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dawnchorus.identify import Options, identify

__all__ = ["Options", "__version__", "identify"]


def __getattr__(name: str) -> Any:
    """Load the public functions on first use, so that `import dawnchorus` stays light."""
    if name in __all__:
        return getattr(import_module("dawnchorus.identify"), name)
    raise AttributeError(f"module 'dawnchorus' has no attribute '{name}'")
