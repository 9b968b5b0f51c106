"""Waveform outlines (minimum and maximum of each column of a plot), computed block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.silencing import silence_blocks
from dawnchorus.plotting.spectrogram import MAX_COLUMNS, RATE_HZ
from dawnchorus.types import ChannelSource, Segment


@dataclass(frozen=True)
class Waveform:
    """Minimum (`low`) and maximum (`high`) sample of each column [columns], evenly spaced from 0 to `end_s`."""

    low: FloatArray
    """Minimum sample of each column [columns]."""
    high: FloatArray
    """Maximum sample of each column [columns]."""
    end_s: float
    """Length of the recording in seconds."""

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Center of each column in seconds from the start of the recording [columns]."""
        n = len(self.low)
        return np.linspace(0, self.end_s, n, endpoint=False, dtype=np.float64) + self.end_s / n / 2

    @property
    def peak(self) -> float:
        """Largest absolute value of a sample; 0 if there are no columns."""
        return float(max(self.high.max(initial=0.0), -self.low.min(initial=0.0)))


def recording_waveform(
    path: Path,
    *,
    decoder: DecoderProcess,
    duration_s: float,
    silent: Sequence[Segment] = (),
    channel: ChannelSource = "mean",
) -> Waveform:
    """Compute the waveform of a recording in constant memory, with at most about `MAX_COLUMNS` columns.

    Args:
        path: file of the recording.
        decoder: process that decodes the recording.
        duration_s: approximate length of the recording, from which the number of columns follows.
        silent: segments that are replaced by silence.
        channel: number of the channel to use, from 1, or "mean", "left", "right" or "best" (the channel whose
            frequency bands vary most over time).

    Raises:
        AudioError: the recording cannot be decoded.
    """
    rate_hz = min(RATE_HZ, decoder.probe(path).info.rate_hz)
    n_column = max(round(duration_s * rate_hz / MAX_COLUMNS), 1)
    with decoder.open(path, rate_hz=rate_hz, channel=channel) as recording:
        blocks = silence_blocks(recording.blocks(), silent, rate_hz=rate_hz)
        columns = list(_columns(blocks, n_column)) or [np.zeros((2, 1), np.float32)]
        low, high = np.concatenate(columns, axis=1)
        return Waveform(low, high, max(recording.duration_s, 1e-3))


def _columns(blocks: Iterable[FloatArray], n_column: int) -> Iterator[FloatArray]:
    """Yield the lowest and highest sample [2, columns] of every `n_column` samples."""
    rest = np.empty(0, np.float32)
    for block in blocks:
        samples = np.concatenate([rest, block])
        n_full = len(samples) // n_column
        full, rest = samples[: n_full * n_column].reshape(n_full, n_column), samples[n_full * n_column :]
        if n_full:
            yield np.stack([full.min(axis=1), full.max(axis=1)])
    if len(rest):
        yield np.array([[rest.min()], [rest.max()]], np.float32)
