"""Plot of a recording: its spectrogram in rows, with detections boxed and named."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MultipleLocator

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.plotting.spectrogram import Spectrogram, recording_spectrogram
from dawnchorus.plotting.style import DAWN, FAINT, GRID, INK, NIGHT, colors_by_name
from dawnchorus.plotting.waveform import Waveform, recording_waveform
from dawnchorus.types import Detection, RecordingTable, Segment

ROW_S = 30.0
"""Seconds in a row of the spectrogram.

A shorter recording has one row of its own length; one longer than `MAX_ROWS` such rows has `MAX_ROWS` longer rows.
"""

MAX_ROWS = 8
MAX_LABEL_ROWS = 12
"""Maximum number of rows of name tags above a row of the spectrogram.

If they do not suffice, the detections with the lowest scores have no name tag.
"""

WIDTH_IN, ROW_IN, LABEL_ROW_IN, WAVEFORM_IN = 14.0, 2.1, 0.24, 0.7
DPI = 110

_STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_CHARACTER_IN = 0.075
_AXES_WIDTH = 0.918
"""Share of the plot's width that the spectrogram takes."""


def draw_recording(path: Path, table: RecordingTable, *, decoder: DecoderProcess) -> bytes:
    """Draw a recording's spectrogram with the detections of `table` boxed and named, and return it as PNG.

    Args:
        path: file of the recording.
        table: detections of the recording, its channel and its segments to silence.
        decoder: process that decodes the recording.

    Raises:
        AudioError: the recording cannot be decoded.
    """
    spectrogram = recording_spectrogram(
        path, decoder=decoder, duration_s=table.duration_s, silent=table.silenced, channel=table.channel
    )
    return draw_table(spectrogram, table, title=path.name)


def draw_recording_with_waveform(path: Path, table: RecordingTable, *, decoder: DecoderProcess) -> bytes:
    """Draw the same as `draw_recording`, with the waveform above each row of the spectrogram, and return it as PNG.

    Args:
        path: file of the recording.
        table: detections of the recording, its channel and its segments to silence.
        decoder: process that decodes the recording.

    Raises:
        AudioError: the recording cannot be decoded.
    """
    spectrogram = recording_spectrogram(
        path, decoder=decoder, duration_s=table.duration_s, silent=table.silenced, channel=table.channel
    )
    waveform = recording_waveform(
        path, decoder=decoder, duration_s=table.duration_s, silent=table.silenced, channel=table.channel
    )
    return draw_table(spectrogram, table, title=path.name, waveform=waveform)


def draw_table(
    spectrogram: Spectrogram, table: RecordingTable, *, title: str, waveform: Waveform | None = None
) -> bytes:
    """Draw a spectrogram with the detections of `table` boxed and named, and return it as PNG.

    The time axis shows clock time if it is known, else the time from the start of the recording.

    Args:
        spectrogram: spectrogram of the whole recording.
        table: detections, and metadata for the title and the time axis.
        title: name of the recording, the first part of the plot's title.
        waveform: waveform to draw above each row of the spectrogram; None for no waveform.
    """
    row_s = _row_length(spectrogram.end_s)
    starts = [k * row_s for k in range(max(math.ceil(spectrogram.end_s / row_s - 1e-6), 1))]
    detections = tuple(table.detections)  # made on access, of which each row asks for all
    rows = [[d for d in detections if d.start_s < s + row_s and d.end_s > s] for s in starts]
    tags = [_tags(row, start, start + row_s) for row, start in zip(rows, starts, strict=True)]
    heights = [ROW_IN + LABEL_ROW_IN * max((tag.label_row + 1 for tag in row), default=0) for row in tags]
    above_in = 0.0 if waveform is None else WAVEFORM_IN
    figure = Figure(figsize=(WIDTH_IN, sum(heights) + (0.5 + above_in) * len(rows) + 0.75), dpi=DPI)
    figure.set_facecolor(NIGHT)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(rows), 1, height_ratios=heights, hspace=(0.32 + above_in) * len(rows) / sum(heights))
    total_in = figure.get_figheight()
    top = 1 - (0.55 + above_in) / total_in
    figure.subplots_adjust(left=0.052, right=0.052 + _AXES_WIDTH, top=top, bottom=0.45 / total_in)
    figure.text(0.052, 1 - 0.3 / total_in, _title(title, table), color=INK, fontsize=12, weight="bold")
    colors = colors_by_name(d.common_name for d in detections)
    limits = spectrogram.limits_db()
    for k, start in enumerate(starts):
        row_spectrogram = spectrogram.between(start, min(start + row_s, spectrogram.end_s))
        axes = figure.add_subplot(grid[k])
        _draw_spectrogram(axes, row_spectrogram, limits)
        _style(axes, row_spectrogram, table, row_s=row_s, first=start, height_in=heights[k])
        _draw_speech(axes, table.speech)
        _draw_boxes(axes, rows[k], row_spectrogram, colors)
        _draw_tags(axes, tags[k], row_spectrogram, colors)
        if waveform is not None:
            _draw_waveform(axes, waveform, height=above_in / heights[k])
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=NIGHT)
    return out.getvalue()


def _row_length(duration_s: float) -> float:
    if duration_s <= ROW_S:
        return max(duration_s, 1e-3)
    if duration_s <= ROW_S * MAX_ROWS:
        return ROW_S
    return duration_s / MAX_ROWS


def _title(title: str, table: RecordingTable) -> str:
    """Return the file's name, and the time and location of the recording."""
    name = title.encode("utf-8", "backslashreplace").decode()
    parts = [name]
    if isinstance(table.channel, int):
        parts.append(f"channel {table.channel}")
    if table.metadata.start_time is not None:
        parts.append(f"{table.metadata.start_time:%Y-%m-%d %H:%M}")
    if table.metadata.latitude is not None and table.metadata.longitude is not None:
        parts.append(f"{table.metadata.latitude:.3f}, {table.metadata.longitude:.3f}")
    return "   ·   ".join(parts).replace("$", r"\$")


@dataclass(frozen=True)
class _Tag:
    """The name tag of a detection, above a row of the spectrogram: in row `label_row`, from `left_s` to `right_s`."""

    detection: Detection
    text: str
    label_row: int
    left_s: float
    right_s: float


def _tags(row: Sequence[Detection], start_s: float, end_s: float) -> list[_Tag]:
    """Return name tags that do not overlap, the highest scores in the lowest rows of tags.

    Detections that find no place in `MAX_LABEL_ROWS` rows have no tag.
    """
    per_character_s = _CHARACTER_IN * (end_s - start_s) / (WIDTH_IN * _AXES_WIDTH)
    label_rows: list[list[_Tag]] = []
    for detection in sorted(row, key=lambda d: (-round(d.score, 2), d.start_s)):
        text = f"{detection.common_name}{' ?' if detection.in_range is False else ''}  {detection.score:.2f}"
        left_s = max(detection.start_s, start_s)
        width_s = max(min(detection.end_s, end_s) - left_s, (len(text) + 1) * per_character_s)
        left_s = max(min(left_s, end_s - width_s), start_s)
        free = (
            k
            for k, label_row in enumerate(label_rows)
            if all(_apart(tag, left_s, left_s + width_s) for tag in label_row)
        )
        label_row = next(free, len(label_rows))
        if label_row == MAX_LABEL_ROWS:
            continue
        if label_row == len(label_rows):
            label_rows.append([])
        label_rows[label_row].append(_Tag(detection, text, label_row, left_s, left_s + width_s))
    return [tag for label_row in label_rows for tag in label_row]


def _apart(tag: _Tag, left_s: float, right_s: float) -> bool:
    return tag.right_s <= left_s + 1e-6 or right_s <= tag.left_s + 1e-6


def _draw_spectrogram(axes: Axes, spectrogram: Spectrogram, limits: tuple[float, float]) -> None:
    axes.imshow(
        spectrogram.levels_db,
        origin="lower",
        aspect="auto",
        extent=(spectrogram.start_s, spectrogram.end_s, 0, spectrogram.top_hz / 1000),
        cmap=DAWN,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="bilinear",
    )


def _draw_waveform(axes: Axes, waveform: Waveform, *, height: float) -> None:
    """Draw the waveform of a row's times above the row; `height` is a share of the row's height."""
    left_s, right_s = axes.get_xlim()
    above = axes.inset_axes((0, 1, 1, height))
    is_visible = (waveform.times_s >= left_s) & (waveform.times_s <= right_s)
    above.fill_between(
        waveform.times_s[is_visible], waveform.low[is_visible], waveform.high[is_visible], color=FAINT, linewidth=0.5
    )
    above.set_xlim(left_s, right_s)
    limit = 1.05 * max(waveform.peak, 1e-3)
    above.set_ylim(-limit, limit)
    above.set_axis_off()


def _style(
    axes: Axes,
    spectrogram: Spectrogram,
    table: RecordingTable,
    *,
    row_s: float,
    first: float,
    height_in: float,
) -> None:
    top_khz = spectrogram.top_hz / 1000
    axes.set_xlim(first, first + row_s)
    axes.set_ylim(0, top_khz * height_in / ROW_IN)
    axes.set_facecolor(NIGHT)
    axes.set_yticks([k for k in (0, 2, 4, 6, 8, 10, 12) if k <= top_khz])
    axes.set_ylabel("kHz", color=FAINT, fontsize=8, y=top_khz / 2 / axes.get_ylim()[1])
    step = next((s for s in _STEPS_S if row_s / s <= 12), 7200)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _time_label(value, step, table)))
    axes.tick_params(colors=FAINT, labelsize=8, length=3, color=GRID)
    for side in axes.spines.values():
        side.set_visible(False)


def _time_label(start_s: float, step: float, table: RecordingTable) -> str:
    moment = table.clock_time(start_s)
    if moment is not None:
        return f"{moment:%H:%M:%S}" if step < 60 else f"{moment:%H:%M}"
    if step < 1:
        return f"{start_s:.1f}"
    whole = str(timedelta(seconds=round(start_s)))
    return whole[2:] if whole.startswith("0:") else whole


def _draw_speech(axes: Axes, speech: Sequence[Segment]) -> None:
    """Draw a line below human speech."""
    left_edge, right_edge = axes.get_xlim()
    for segment in speech:
        left, right = max(segment.start_s, left_edge), min(segment.end_s, right_edge)
        if left < right:
            axes.plot([left, right], [0, 0], color=INK, linewidth=3, solid_capstyle="butt", clip_on=False)
            axes.annotate("voice", (left, 0), (2, 3), textcoords="offset points", color=INK, fontsize=7)


def _draw_boxes(axes: Axes, row: Sequence[Detection], spectrogram: Spectrogram, colors: dict[str, str]) -> None:
    top_khz = spectrogram.top_hz / 1000
    left_edge, right_edge = axes.get_xlim()
    for detection in row:
        left, right = max(detection.start_s, left_edge), min(detection.end_s, right_edge)
        axes.add_patch(
            Rectangle(
                (left, 0.02 * top_khz),
                right - left,
                0.96 * top_khz,
                fill=False,
                edgecolor=colors[detection.common_name],
                linewidth=1.2,
                linestyle=(0, (3, 2)) if detection.in_range is False else "solid",
            )
        )


def _draw_tags(axes: Axes, tags: Sequence[_Tag], spectrogram: Spectrogram, colors: dict[str, str]) -> None:
    top_khz = spectrogram.top_hz / 1000
    label_row_khz = top_khz * LABEL_ROW_IN / ROW_IN
    left_edge, right_edge = axes.get_xlim()
    margin = 0.004 * (right_edge - left_edge)
    for tag in tags:
        bottom = top_khz + tag.label_row * label_row_khz
        axes.add_patch(
            Rectangle(
                (tag.left_s, bottom + 0.1 * label_row_khz),
                tag.right_s - tag.left_s,
                0.8 * label_row_khz,
                facecolor=colors[tag.detection.common_name],
                alpha=0.18 + 0.5 * tag.detection.score,
                linewidth=0,
            )
        )
        text = tag.text.replace("$", r"\$")
        axes.text(
            tag.left_s + margin, bottom + label_row_khz / 2, text, color=INK, fontsize=8, va="center", clip_on=True
        )
