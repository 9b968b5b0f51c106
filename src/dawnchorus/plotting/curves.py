"""Learning curves of training runs, and a plot that compares the runs' results."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dawnchorus.plotting.style import FAINT, GRID, INK, NIGHT, colors_by_name

Points = Sequence[tuple[float, float]]
"""Points of a curve: epoch and value."""

SHOWN = ("loss", "val_loss", "val_accuracy", "val_auc")
"""Metrics with a plot, by their names in the training log."""
MAX_IN_LEGEND = 16
MAX_LETTERS = 40
"""Maximum length of a label in characters; longer labels are cut."""


@dataclass(frozen=True)
class Curves:
    """Metrics of a training run by epoch, and its final result."""

    label: str
    """Value of the setting that varies between the runs; several runs may have the same value."""
    metrics: Mapping[str, Points]
    """Curve of each metric, as points (epoch, value), by the metric's name in the training log."""
    result: float | None
    """Value of the compared metric (`draw_runs(metric=...)`) after the training; None if the run has no such value."""
    limits: tuple[float, float] | None
    """Lower and upper limit of the 95 % confidence interval of the result; None without an interval."""


def draw_runs(runs: Sequence[Curves], *, setting: str, metric: str) -> bytes:
    """Draw the curve of each metric in `SHOWN` by epoch, and the result of each run by its label; return the PNG.

    Args:
        runs: runs to compare.
        setting: name of the setting that varies between the runs, the title of the legend and of the labels.
        metric: name of the metric of `Curves.result`, for the title; a run without a result has no point.
    """
    figure = draw_figure(runs, setting=setting, metric=metric)
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=NIGHT)
    return out.getvalue()


def draw_figure(runs: Sequence[Curves], *, setting: str, metric: str) -> Figure:
    """Draw and return the matplotlib figure that `draw_runs` saves as PNG; the arguments are the same."""
    labels = _in_order({run.label for run in runs})
    figure = Figure(figsize=(13, min(max(7, 0.25 * len(labels)), 40)), dpi=110, layout="constrained")
    figure.set_facecolor(NIGHT)
    FigureCanvasAgg(figure)
    colors = colors_by_name(labels)
    grid = figure.add_gridspec(2, 3)
    for k, name in enumerate(SHOWN):
        axes = figure.add_subplot(grid[k // 2, k % 2])
        for run in runs:
            points = run.metrics.get(name, ())
            axes.plot([x for x, _ in points], [y for _, y in points], ".-", color=colors[run.label], linewidth=1.4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch", color=FAINT, fontsize=8)
        _style(axes, name)
    _draw_results(figure.add_subplot(grid[:, 2]), runs, labels, colors, setting, metric)
    handles = [figure.axes[0].plot([], [], color=colors[label])[0] for label in labels[:MAX_IN_LEGEND]]
    figure.legend(
        handles,
        [_short(label) for label in labels[:MAX_IN_LEGEND]],
        title=_short(setting, 3 * MAX_LETTERS),
        title_fontsize=9,
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        facecolor=NIGHT,
        edgecolor=GRID,
        labelcolor=INK,
    ).get_title().set_color(INK)
    return figure


def _draw_results(
    axes: Axes, runs: Sequence[Curves], labels: Sequence[str], colors: Mapping[str, str], setting: str, metric: str
) -> None:
    """Draw a point with its interval for each run, in the row of its label."""
    has_interval = False
    for run in runs:
        if run.result is None:
            continue
        row, color = labels.index(run.label), colors[run.label]
        if run.limits is not None:
            has_interval = True
            axes.plot(run.limits, (row, row), color=color, linewidth=2, alpha=0.7)
        axes.plot(run.result, row, "o", color=color)
        axes.annotate(f"{run.result:.3f}", (run.result, row), (0, 7), textcoords="offset points", color=INK, fontsize=8,
                      ha="center")  # fmt: skip
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylabel(_short(setting, 2 * MAX_LETTERS), color=FAINT, fontsize=8)
    _style(axes, f"{metric}, with 95 % intervals" if has_interval else metric)


def _in_order(labels: set[str]) -> list[str]:
    """Sort labels as numbers if all labels are numbers, else as text."""
    try:
        return sorted(labels, key=float)
    except ValueError:
        return sorted(labels)


def _short(text: str, n_letters: int = MAX_LETTERS) -> str:
    """Cut a text to `n_letters` characters, and escape dollar signs, which start formulas in matplotlib."""
    cut = text if len(text) <= n_letters else f"{text[: n_letters - 1]}…"
    return cut.replace("$", r"\$")


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title.replace("_", " "), color=INK, fontsize=10, loc="left")
    axes.set_facecolor(NIGHT)
    axes.grid(visible=True, color=GRID, linewidth=0.5)
    axes.tick_params(colors=FAINT, labelsize=8, length=2, color=GRID)
    for side in axes.spines.values():
        side.set_visible(False)
