"""Colors shared by all plots."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.colors import LinearSegmentedColormap

NIGHT = "#0b1220"
INK = "#e6edf7"
FAINT = "#8ea0b8"
GRID = "#243248"

DAWN = LinearSegmentedColormap.from_list(
    "dawn", ["#0b1220", "#16254a", "#413a7d", "#8a4a8f", "#d4607c", "#f6946a", "#fcd489", "#fffbe6"]
)
"""Color map of spectrograms, from night over dusk to sunrise, even in lightness."""

SPECIES_COLORS = (
    "#5cc8ff",
    "#ffd166",
    "#7ee0a3",
    "#ff8fa3",
    "#c7a6ff",
    "#ffa94d",
    "#63e6e2",
    "#e0f17a",
    "#f5a3e0",
    "#a5c8ff",
)


def colors_by_name(names: Iterable[str]) -> dict[str, str]:
    """Return a color (`#rrggbb`) by name, in order of first appearance; ten colors are used in turn."""
    distinct = dict.fromkeys(names)
    return {name: SPECIES_COLORS[k % len(SPECIES_COLORS)] for k, name in enumerate(distinct)}
