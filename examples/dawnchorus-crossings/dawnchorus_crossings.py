"""Zero crossings per second of each channel: a rough frequency, and an example of an analysis of one's own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dawnchorus import Analysis, build_table

FloatArray = npt.NDArray[np.float32]
Table = npt.NDArray[np.void]


class Crossings:
    """Crossings in one recording, counted block by block."""

    def __init__(self) -> None:
        self.n_frames = 0
        self.sample_rate_hz = 1
        self.counts = np.zeros(0, int)
        self.last = np.zeros((0, 0), np.float32)

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Add samples [frames, channels]."""
        joined = np.concatenate([self.last, block]) if len(self.last) else block
        counts = np.count_nonzero(np.signbit(joined[1:]) != np.signbit(joined[:-1]), axis=0)
        self.counts = self.counts + counts if len(self.counts) else counts
        self.last = block[-1:].copy()
        self.n_frames += len(block)
        self.sample_rate_hz = sample_rate_hz

    def finish(self) -> Table:
        """Return one row for each channel."""
        seconds = max(self.n_frames, 1) / self.sample_rate_hz
        return build_table({"channel": range(1, len(self.counts) + 1), "crossings_per_s": self.counts / seconds})


CROSSINGS = Analysis("crossings", "zero crossings per second", Crossings)
