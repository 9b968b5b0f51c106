"""Spectrogram image and audio of one detection."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.silencing import silence
from dawnchorus.audio.write import encode_mp3
from dawnchorus.plotting.spectrogram import RATE_HZ, Spectrogram, clip_spectrogram
from dawnchorus.plotting.style import DAWN, FAINT, GRID, INK, NIGHT
from dawnchorus.types import ChannelSource, Detection, Segment

CLIP_MARGIN_S = 1.0
"""Length of the audio before and after the detection in a clip."""

MAX_CLIP_S = 8.0
"""Maximum length of a clip, with margins; later audio of a long detection is left out."""
DPI = 100


@dataclass(frozen=True)
class DetectionClip:
    """A detection to show, with its recording."""

    path: Path
    """File of the recording."""
    detection: Detection
    """The detection."""
    time: datetime | None
    """Clock time of the detection's start, local if it has no time zone; None if unknown."""
    recording_s: float
    """Length of the recording in seconds."""
    silent: tuple[Segment, ...] = ()
    """Segments of the recording to silence, such as speech."""
    channel: ChannelSource = "mean"
    """Channel of the recording to show: its number, from 1, or "mean", "left", "right" or "best".

    "best" is the channel whose frequency bands vary most over time.
    """


def clip_png_and_mp3(clip: DetectionClip, decoder: DecoderProcess) -> tuple[bytes, bytes]:
    """Return the spectrogram (PNG) and the audio (MP3) of a detection, with `CLIP_MARGIN_S` before and after it.

    The clip does not exceed the recording, and ends after `MAX_CLIP_S` at the latest. The segments `clip.silent` are
    silenced in both image and audio.

    Args:
        clip: the detection.
        decoder: process that decodes the recording.

    Raises:
        AudioError: the recording is missing or cannot be decoded.
    """
    detection = clip.detection
    start_s = max(detection.start_s - CLIP_MARGIN_S, 0.0)
    end_s = min(detection.end_s + CLIP_MARGIN_S, start_s + MAX_CLIP_S, clip.recording_s)
    samples = decoder.read_clip(clip.path, start_s=start_s, end_s=end_s, rate_hz=RATE_HZ, channel=clip.channel)
    samples = silence(samples, clip.silent, rate_hz=RATE_HZ, start_s=start_s)
    spectrogram = clip_spectrogram(samples, rate_hz=RATE_HZ, start_s=start_s)
    edges_s = [edge_s for edge_s in (detection.start_s, detection.end_s) if start_s < edge_s < spectrogram.end_s]
    return draw_clip(spectrogram, edges_s), encode_mp3(samples, rate_hz=RATE_HZ)


def draw_clip(spectrogram: Spectrogram, edges_s: Sequence[float] = ()) -> bytes:
    """Draw a small spectrogram with axes, and return it as PNG.

    Args:
        spectrogram: the spectrogram.
        edges_s: times of dotted vertical lines, in seconds from the start of the recording.
    """
    figure = Figure(figsize=(4.4, 2.0), dpi=DPI)
    figure.set_facecolor(NIGHT)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.075, 0.13, 0.895, 0.81))
    low, high = spectrogram.limits_db()
    axes.imshow(
        spectrogram.levels_db,
        origin="lower",
        aspect="auto",
        extent=(spectrogram.start_s, spectrogram.end_s, 0, spectrogram.top_hz / 1000),
        cmap=DAWN,
        vmin=low,
        vmax=high,
        interpolation="bilinear",
    )
    for edge_s in edges_s:
        axes.axvline(edge_s, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_xlim(spectrogram.start_s, spectrogram.end_s)
    axes.set_ylim(0, spectrogram.top_hz / 1000)
    axes.set_yticks([4, 8, 12])
    axes.set_yticklabels(["4", "8", "kHz"])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} s")
    axes.tick_params(labelcolor=FAINT, labelsize=6.5, length=2, color=GRID)
    for side in axes.spines.values():
        side.set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=NIGHT)
    return out.getvalue()
