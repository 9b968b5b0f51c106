"""Curves of training runs, and a comparison of what came out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dawnchorus.pictures.style import FAINT, GRID, INK, NIGHT, colours_by_name

Points = Sequence[tuple[float, float]]

SHOWN = ("loss", "val_loss", "val_accuracy", "val_auc")


def draw_curves(curves: Mapping[str, Mapping[str, Points]], results: Mapping[str, Mapping[str, float]]) -> bytes:
    """A PNG: each metric over the epochs, a line per run, and bars of the runs' best accuracy."""
    figure = Figure(figsize=(12, 6.4), dpi=110)
    figure.set_facecolor(NIGHT)
    FigureCanvasAgg(figure)
    colours = colours_by_name(curves)
    grid = figure.add_gridspec(2, 3, wspace=0.25, hspace=0.38, left=0.05, right=0.98, top=0.93, bottom=0.09)
    for k, name in enumerate(SHOWN):
        axes = figure.add_subplot(grid[k // 2, k % 2])
        for run, metrics in curves.items():
            points = metrics.get(name, ())
            axes.plot([x for x, _ in points], [y for _, y in points], color=colours[run], label=run, linewidth=1.4)
        _style(axes, name)
    axes = figure.add_subplot(grid[:, 2])
    names = list(results)
    metric = "test_top_1" if any("test_top_1" in result for result in results.values()) else "val_accuracy"
    values = [results[run].get(metric, 0.0) for run in names]
    axes.barh(range(len(names)), values, color=[colours.get(run, INK) for run in names], height=0.7)
    for k, (run, value) in enumerate(zip(names, values, strict=True)):
        axes.text(0.01, k, f"{run}  {value:.3f}", color=INK, fontsize=8, va="center")
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    _style(axes, metric)
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=NIGHT)
    return out.getvalue()


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title.replace("_", " "), color=INK, fontsize=10, loc="left")
    axes.set_facecolor(NIGHT)
    axes.grid(visible=True, color=GRID, linewidth=0.5)
    axes.tick_params(colors=FAINT, labelsize=8, length=2, color=GRID)
    for side in axes.spines.values():
        side.set_visible(False)
