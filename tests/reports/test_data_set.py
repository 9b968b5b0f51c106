"""Plots of a data set."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from dawnchorus.data.explore import summarize_data_set
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.reports import data_set as plots
from dawnchorus.reports.data_set import draw_data_set


def test_a_data_set_of_which_nothing_is_known_can_be_drawn() -> None:
    assert draw_data_set(summarize_data_set([RecordingRow(recording_id="a", path="a")])) == {}
    assert draw_data_set(summarize_data_set([])) == {}


@pytest.mark.parametrize("lengths_s", [[2.0, 14.0, 95.0, 700.0], [5.5, 6.0, 7.0], [4.0, 4.0]])
def test_the_plot_of_lengths_has_ticks_that_can_be_read(
    monkeypatch: pytest.MonkeyPatch, lengths_s: list[float]
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_png", lambda figure: figures.append(figure) or b"")
    plots._lengths(SimpleNamespace(lengths_s=lengths_s))  # type: ignore[arg-type]
    (axes,) = figures[0].axes
    assert axes.get_axisbelow() is True, "grid lines are behind the bars"
    figures[0].draw_without_rendering()
    minor = [tick.label1 for tick in axes.xaxis.get_minor_ticks()]
    assert not any(label.get_text() for label in minor), "black on black, as 6 x 10^0"
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert all(text.endswith((" s", " min", " h")) for text in shown)
    assert len(shown) >= min(2, len(set(lengths_s)))
    low, high = axes.get_xlim()
    assert all(low <= value <= high for value in axes.get_xticks())
