"""Silencing of spans of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dawnchorus.types import Span

FloatArray = npt.NDArray[np.float32]

RAMP_S = 0.01
"""Length of the fades around silenced spans, so that they do not click."""


def silence(samples: FloatArray, spans: Sequence[Span], *, rate_hz: int, start_s: float = 0.0) -> FloatArray:
    """Mono samples [n], which begin at `start_s` of the recording, with nothing to hear in `spans`."""
    quiet = samples
    for span in spans:
        first = max(round((span.start_s - RAMP_S - start_s) * rate_hz), 0)
        last = min(round((span.end_s + RAMP_S - start_s) * rate_hz), len(samples))
        if first >= last:
            continue
        quiet = samples.copy() if quiet is samples else quiet
        times = start_s + np.arange(first, last) / rate_hz
        corners = [span.start_s - RAMP_S, span.start_s, span.end_s, span.end_s + RAMP_S]
        quiet[first:last] *= np.interp(times, corners, [1.0, 0.0, 0.0, 1.0]).astype(np.float32)
    return quiet


def silenced(blocks: Iterable[FloatArray], spans: Sequence[Span], *, rate_hz: int) -> Iterator[FloatArray]:
    """Yield the blocks of a whole recording, silenced in `spans`."""
    n = 0
    for block in blocks:
        yield silence(block, spans, rate_hz=rate_hz, start_s=n / rate_hz)
        n += len(block)
