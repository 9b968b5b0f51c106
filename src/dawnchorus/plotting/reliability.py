"""Reliability diagrams: predicted probability against the share of correct detections."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dawnchorus.plotting.style import FAINT, GRID, INK, NIGHT, SPECIES_COLORS


def draw_reliability(curves: Mapping[str, Sequence[tuple[float, float, int]]]) -> bytes:
    """Draw reliability curves, and return the plot as PNG.

    Args:
        curves: points of each curve, by its name for the legend; only the first ten curves are drawn. A point is the
            mean score of a bin, the bin's share of correct detections, and the bin's number of detections.
    """
    figure = Figure(figsize=(4.6, 4.2), dpi=100)
    figure.set_facecolor(NIGHT)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.13, 0.12, 0.83, 0.83))
    axes.set_facecolor(NIGHT)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (3, 3)))
    for (name, bins), color in zip(curves.items(), SPECIES_COLORS, strict=False):
        axes.plot([x for x, _, _ in bins], [y for _, y, _ in bins], "o-", color=color, linewidth=1.4, label=name)
        for x, y, n in bins:
            axes.annotate(f"{n:,}", (x, y), (5, -9), textcoords="offset points", color=FAINT, fontsize=7)
    if len(curves) > 1:
        axes.legend(loc="upper left", fontsize=8, frameon=False, labelcolor=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("mean probability", color=INK, fontsize=9)
    axes.set_ylabel("share of correct detections", color=INK, fontsize=9)
    axes.grid(visible=True, color=GRID, linewidth=0.5)
    axes.tick_params(colors=FAINT, labelsize=8, length=2, color=GRID)
    for side in axes.spines.values():
        side.set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=NIGHT)
    return out.getvalue()
