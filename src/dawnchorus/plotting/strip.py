"""Spectrogram images without axes, over which web pages draw axes and detections."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dawnchorus.plotting.spectrogram import Spectrogram
from dawnchorus.plotting.style import DAWN

_COLORS = (DAWN(np.arange(DAWN.N))[:, :3] * 255).astype(np.uint8)


def draw_strip(spectrogram: Spectrogram, *, width: int, height: int) -> bytes:
    """Draw the spectrogram without axes and margins, and return it as PNG of `width` times `height` pixels."""
    low, high = spectrogram.limits_db()
    steps = (spectrogram.levels_db[::-1] - low) * (len(_COLORS) / (high - low))
    colors = _COLORS[np.clip(steps, 0, len(_COLORS) - 1, out=steps).astype(np.uint8)]
    image = Image.fromarray(colors).resize((width, height), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, format="png", compress_level=3)
    return out.getvalue()
