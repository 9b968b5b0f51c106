"""Splitting of a stream of blocks at minute boundaries, and into frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dawnchorus.arrays import FloatArray

MINUTE_S = 60


class MinuteSplitter:
    """Splitter of a recording's blocks at minute boundaries.

    Attributes:
        n_frames: number of frames (samples per channel) since the last complete minute.
    """

    def __init__(self) -> None:
        self.n_frames = 0
        """Number of frames (samples per channel) since the last complete minute."""

    def split(self, block: FloatArray, sample_rate_hz: int) -> Iterator[tuple[FloatArray, bool]]:
        """Yield (part, completes a minute) for the parts of a block [frames, channels] that are in different minutes.

        Minutes are counted from the recording's first block, at `sample_rate_hz`. Parts are views of the block.
        """
        minute_frames = MINUTE_S * sample_rate_hz
        while len(block):
            part = block[: minute_frames - self.n_frames]
            block = block[len(part) :]
            self.n_frames += len(part)
            ends_minute = self.n_frames == minute_frames
            if ends_minute:
                self.n_frames = 0
            yield part, ends_minute


class Framer:
    """Splitter of one channel's samples into frames of equal length, across block boundaries.

    Args:
        length: number of samples in a frame.
    """

    def __init__(self, length: int) -> None:
        self._frame = np.empty(length, np.float32)
        self._n = 0

    @property
    def rest(self) -> FloatArray:
        """Samples of the last, incomplete frame; empty if the last frame is complete."""
        return self._frame[: self._n]

    def push(self, samples: FloatArray) -> Iterator[FloatArray]:
        """Append samples [n], and yield each completed frame [length]; a frame is valid until the next is requested.

        Samples are appended while the frames are iterated over.
        """
        while len(samples):
            part = samples[: len(self._frame) - self._n]
            samples = samples[len(part) :]
            self._frame[self._n : self._n + len(part)] = part
            self._n += len(part)
            if self._n == len(self._frame):
                self._n = 0
                yield self._frame
