"""The HTML page of a data set: plots and example clips."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.silencing import silence
from dawnchorus.audio.write import encode_mp3
from dawnchorus.data.explore import DataSetSummary, Example
from dawnchorus.errors import AudioError
from dawnchorus.plotting.clip import draw_clip
from dawnchorus.plotting.spectrogram import RATE_HZ, Spectrogram, clip_spectrogram
from dawnchorus.plotting.style import DAWN, FAINT, GRID, INK, NIGHT, SPECIES_COLORS
from dawnchorus.reports.environment import page_environment

MAX_SPECIES = 40
"""Maximum number of species in plots with a row for each species."""

MAX_VALUES = 12
"""Maximum number of bars in plots of other values, such as licenses and recordists."""

_BLUE, _ORANGE = SPECIES_COLORS[0], SPECIES_COLORS[5]


def _figure(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    figure.set_facecolor(NIGHT)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor(NIGHT)
    axes.set_axisbelow(True)  # grid lines behind the bars, not across them
    axes.set_title(title, color=INK, fontsize=11, loc="left", pad=8)
    axes.tick_params(colors=FAINT, labelsize=8, length=0)
    for name, side in axes.spines.items():
        side.set_color(GRID)
        side.set_visible(name in ("left", "bottom"))
    return figure, axes


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=NIGHT)
    return out.getvalue()


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def _bars(title: str, values: Sequence[tuple[str, float]], unit: str, *, color: str = _BLUE) -> bytes:
    """Draw a PNG of horizontal bars from pairs of name and value, the first bar on top."""
    figure, axes = _figure(6.4, 0.9 + 0.26 * max(len(values), 2), title)
    positions = range(len(values))
    axes.barh(positions, [value for _, value in values], color=color, height=0.72)
    axes.set_yticks(positions, [_text(name[:44]) for name, _ in values])
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    largest = max((value for _, value in values), default=1) or 1
    axes.set_xlim(0, largest * 1.18)
    for k, (_, value) in enumerate(values):
        shown = f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.2g}"
        axes.text(value + largest * 0.012, k, f"{shown}{unit}", va="center", color=INK, fontsize=8)
    return _png(figure)


def draw_data_set(summary: DataSetSummary) -> dict[str, bytes]:
    """Draw the plots of a data set's page.

    Returns:
        PNG by name of the plot, in the order of the page: "species-recordings", "species-minutes", "long-tail",
        "lengths", the names in `summary.counts` (such as "license") with hyphens for spaces, "recordists", "map" and
        "month-hour". Plots without data, and plots of counts and recordists with only one value, are omitted.
    """
    plots: dict[str, bytes] = {}
    named = [(s.common_name, s) for s in summary.species[:MAX_SPECIES]]
    if named:
        more = f" (first {MAX_SPECIES} of {len(summary.species)})" if len(summary.species) > MAX_SPECIES else ""
        plots["species-recordings"] = _bars(
            f"Recordings of each species{more}", [(n, s.n_recordings) for n, s in named], ""
        )
        hours = [(n, s.duration_s / 60) for n, s in named]
        plots["species-minutes"] = _bars(f"Minutes of each species{more}", hours, " min", color=_ORANGE)
        plots["long-tail"] = _long_tail(summary)
    if summary.lengths_s:
        plots["lengths"] = _lengths(summary)
    for name, counts in summary.counts.items():
        if len(counts) > 1:
            plots[name.replace(" ", "-")] = _bars(f"Recordings by {name}", counts[:MAX_VALUES], "")
    if len(summary.recordists) > 1:
        title = f"Recordings by recordist ({len(summary.recordists)} in all)"
        plots["recordists"] = _bars(title, summary.recordists[:MAX_VALUES], "")
    if summary.locations:
        plots["map"] = _map(summary)
    if any(any(hours) for hours in summary.month_hour):
        plots["month-hour"] = _month_hour(summary)
    return plots


def _long_tail(summary: DataSetSummary) -> bytes:
    figure, axes = _figure(6.4, 3.4, "The long tail: recordings of each species, the most frequent first")
    counts = [s.n_recordings for s in summary.species]
    axes.fill_between(np.arange(1, len(counts) + 1), counts, 0.8, color=_BLUE, alpha=0.35, step="mid")
    axes.step(np.arange(1, len(counts) + 1), counts, where="mid", color=_BLUE)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0.8, max(counts) * 1.4)
    axes.set_xlabel("species", color=FAINT, fontsize=8)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.6)
    n_rare = sum(count < 10 for count in counts)
    axes.text(0.98, 0.92, f"{n_rare} of {len(counts)} species\nhave fewer than 10", transform=axes.transAxes, color=INK,
              fontsize=9, ha="right", va="top")  # fmt: skip
    return _png(figure)


_LENGTH_TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 3600, 7200, 18_000, 36_000, 86_400)


def _length(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"


def _lengths(summary: DataSetSummary) -> bytes:
    figure, axes = _figure(6.4, 3.0, f"Lengths of recordings (median {np.median(summary.lengths_s):.1f} s)")
    low, high = max(min(summary.lengths_s), 0.05), max(summary.lengths_s)
    axes.hist(summary.lengths_s, bins=np.geomspace(low * 0.95, high * 1.05, 40).tolist(), color=_BLUE)
    axes.set_xscale("log")
    ticks = [value for value in _LENGTH_TICKS_S if low * 0.95 <= value <= high * 1.05]
    positions = ticks if len(ticks) > 1 else sorted({low, high})
    axes.set_xticks(positions, [_length(value) for value in positions])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.6)
    return _png(figure)


def _map(summary: DataSetSummary) -> bytes:
    figure, axes = _figure(6.4, 3.6, f"Locations of {len(summary.locations)} recordings")
    latitude, longitude = np.array(summary.locations).T
    axes.scatter(longitude, latitude, s=16, color=_ORANGE, alpha=0.55, linewidths=0)
    for values, set_limits, reach in ((longitude, axes.set_xlim, 180), (latitude, axes.set_ylim, 90)):
        margin = max(0.1 * (values.max() - values.min()), 2.0)
        set_limits(max(values.min() - margin, -reach), min(values.max() + margin, reach))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{abs(v):g}°{'W' if v < 0 else 'E' if v else ''}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{abs(v):g}°{'S' if v < 0 else 'N' if v else ''}"))
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    return _png(figure)


def _month_hour(summary: DataSetSummary) -> bytes:
    figure, axes = _figure(6.4, 3.2, "Recordings by month and hour of the day")
    counts = np.array(summary.month_hour, float)
    axes.imshow(np.where(counts, counts, np.nan), cmap=DAWN, vmin=-0.2 * counts.max(), aspect="auto", origin="upper")
    axes.set_yticks(range(12), ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"])
    axes.set_xticks(range(0, 24, 3), [f"{hour:02d}:00" for hour in range(0, 24, 3)])
    return _png(figure)


@dataclass(frozen=True)
class _RenderedExample:
    example: Example
    png: str
    mp3: str


@dataclass(frozen=True)
class ExampleClips:
    """Example clips of species, and a plot of the species' mean spectra."""

    rendered: tuple[_RenderedExample, ...]
    """Examples with spectrogram and audio, base64-encoded for the page."""
    spectra: bytes | None
    """PNG of the mean spectrum of each species; None without examples."""


def show_examples(examples: Iterable[Example], decoder: DecoderProcess) -> ExampleClips:
    """Decode and draw the examples, in their order, with the segments in `Example.silent` silenced.

    Examples that cannot be decoded are left out.

    Args:
        examples: segments of recordings.
        decoder: process that decodes the recordings.
    """
    rendered: list[_RenderedExample] = []
    spectra: dict[str, list[FloatArray]] = {}
    for example in examples:
        try:
            samples = decoder.read_clip(example.path, start_s=example.start_s, end_s=example.end_s, rate_hz=RATE_HZ)
        except AudioError:
            continue
        samples = silence(samples, example.silent, rate_hz=RATE_HZ, start_s=example.start_s)
        spectrogram = clip_spectrogram(samples, rate_hz=RATE_HZ, start_s=example.start_s)
        png, mp3 = draw_clip(spectrogram), encode_mp3(samples, rate_hz=RATE_HZ)
        rendered.append(_RenderedExample(example, base64.b64encode(png).decode(), base64.b64encode(mp3).decode()))
        spectra.setdefault(example.common_name, []).append(_spectrum(spectrogram))
    return ExampleClips(tuple(rendered), _draw_spectra(spectra) if spectra else None)


def _spectrum(spectrogram: Spectrogram) -> FloatArray:
    """Return the 97th percentile of the levels of each frequency above its 30th percentile, in dB [bins]."""
    levels = spectrogram.levels_db
    above = np.percentile(levels, 97, axis=1) - np.percentile(levels, 30, axis=1)
    return above.astype(np.float32)


def _draw_spectra(spectra: dict[str, list[FloatArray]]) -> bytes:
    names = list(spectra)[:MAX_SPECIES]
    rows = np.stack([np.mean(spectra[name], axis=0) for name in names])
    rows = (rows - rows.min(axis=1, keepdims=True)) / np.maximum(np.ptp(rows, axis=1, keepdims=True), 1e-6)
    figure, axes = _figure(
        13.2, 0.9 + 0.26 * max(len(names), 2), "Where each species sings: average spectrum of its examples"
    )
    axes.imshow(
        rows, cmap=DAWN, aspect="auto", interpolation="nearest", extent=(0, RATE_HZ / 2000, len(names) - 0.5, -0.5)
    )
    axes.set_yticks(range(len(names)), [_text(name[:44]) for name in names])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} kHz"))
    return _png(figure)


def render_data_page(
    summary: DataSetSummary, plots: dict[str, bytes], examples: ExampleClips, *, name: str, advice: dict[str, str]
) -> str:
    """Return the page of a data set as HTML with embedded images and audio.

    Args:
        summary: numbers and tables of the page.
        plots: PNG by name, from `draw_data_set`.
        examples: example clips, from `show_examples`.
        name: name of the data set, the title of the page.
        advice: text by kind of issue (such as "silent") that tells the user what to do about it.
    """
    return (
        page_environment()
        .get_template("data.html")
        .render(
            summary=summary,
            plots={key: base64.b64encode(png).decode() for key, png in plots.items()},
            examples=examples.rendered,
            spectra=examples.spectra and base64.b64encode(examples.spectra).decode(),
            name=name,
            advice=advice,
        )
    )
