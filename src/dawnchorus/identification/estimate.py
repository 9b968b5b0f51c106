"""Quick estimate of a run's duration and output size, from headers and one batch of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import AudioError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import BATCH_WINDOWS, open_session
from dawnchorus.types import ChannelOption

MAX_PROBED = 400
"""Minimum number of files that are opened, if there are as many.

Of fewer than twice as many, all are opened; of more, every second, third and so on. The others are extrapolated.
"""

ROW_BYTES = 110
"""Size in bytes of a CSV row with a path of ordinary length."""


@dataclass(frozen=True)
class Estimate:
    """Estimated duration and output size of a run."""

    n_files: int
    """Number of recordings."""
    duration_s: float
    """Seconds of audio to score, summed over channels if they are scored separately."""
    estimated_s: float
    """Estimated duration of the run in seconds."""
    output_bytes: int
    """Size in bytes of a CSV with one detection in every window."""


def estimate_run(
    paths: Sequence[Path],
    bundle: Bundle,
    plan: WindowPlan,
    *,
    n_workers: int,
    tta_shifts: int = 1,
    channel: ChannelOption = "mean",
    clock: Callable[[], float],
) -> Estimate:
    """Return the estimate for a run, from some headers and a timed batch of the model.

    Files whose duration is not known from their header count as 0 seconds.

    Args:
        paths: the recordings.
        bundle: the model.
        plan: length and spacing of the windows.
        n_workers: number of cores that the run will use.
        tta_shifts: number of time shifts for test-time augmentation; 1: none.
        channel: channel to score; "each": all channels, separately.
        clock: function that returns the time in seconds.

    Raises:
        ModelError: the model cannot be loaded or run.
        MissingExtraError: the library that runs the model is not installed.
    """
    probed = paths[:: max(len(paths) // MAX_PROBED, 1)]
    known = _durations(probed, channel)
    duration_s = sum(known) * len(paths) / max(len(probed), 1)
    n_windows = duration_s * plan.rate_hz / plan.hop_samples
    session = open_session(bundle, tta_shifts=tta_shifts)
    windows = np.zeros((BATCH_WINDOWS, plan.window_samples), np.float32)
    session.run(windows)
    start_s = clock()
    session.run(windows)
    per_window_s = (clock() - start_s) / BATCH_WINDOWS
    return Estimate(len(paths), duration_s, n_windows * per_window_s / n_workers, round(n_windows * ROW_BYTES))


def _durations(paths: Sequence[Path], channel: ChannelOption) -> list[float]:
    """Return the seconds to score of each file, from its header; files without a known duration are left out."""
    known = []
    with closing(DecoderProcess()) as decoder:
        for path in paths:
            with suppress(AudioError):
                info = decoder.probe(path).info
                n_signals = info.n_channels if channel == "each" else 1
                known += [] if info.duration_s is None else [info.duration_s * n_signals]
    return known
