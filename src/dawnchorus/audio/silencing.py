"""Silencing of segments of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.types import Segment

RAMP_S = 0.01
"""Length in seconds of the fades around silenced segments, which avoid clicks."""


def silence(samples: FloatArray, segments: Sequence[Segment], *, rate_hz: int, start_s: float = 0.0) -> FloatArray:
    """Return mono samples [n], which start at `start_s` in the recording, with the audio in `segments` set to zero.

    Times of `segments` are in seconds from the start of the recording. Fades of `RAMP_S` are added before and after
    each segment. `samples` stays unchanged; the same array is returned if no segment overlaps it.
    """
    quiet = samples
    for segment in segments:
        first = max(round((segment.start_s - RAMP_S - start_s) * rate_hz), 0)
        last = min(round((segment.end_s + RAMP_S - start_s) * rate_hz), len(samples))
        if first >= last:
            continue
        quiet = samples.copy() if quiet is samples else quiet
        times = start_s + np.arange(first, last) / rate_hz
        corners = [segment.start_s - RAMP_S, segment.start_s, segment.end_s, segment.end_s + RAMP_S]
        quiet[first:last] *= np.interp(times, corners, [1.0, 0.0, 0.0, 1.0]).astype(np.float32)
    return quiet


def silence_blocks(blocks: Iterable[FloatArray], segments: Sequence[Segment], *, rate_hz: int) -> Iterator[FloatArray]:
    """Yield mono blocks [samples] of a recording, from its start on, with the audio in `segments` set to zero.

    Fades are added as by `silence`.
    """
    n = 0
    for block in blocks:
        yield silence(block, segments, rate_hz=rate_hz, start_s=n / rate_hz)
        n += len(block)
