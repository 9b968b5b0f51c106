"""Spectrograms in dB, computed block by block in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.silencing import silence_blocks
from dawnchorus.types import ChannelSource, Segment

RATE_HZ = 24_000
"""Maximum sample rate of the audio, so that plots reach 12 kHz, above which few birds sing."""

N_FFT = 512
"""Window length of the Fourier transform in samples."""
N_HOP = 256
"""Samples from one column to the next."""

SILENCE = 1e-12
"""Power that is added before the logarithm, so that levels are -120 dB or more."""

MAX_COLUMNS = 12_000
"""Maximum number of columns; in long recordings, a column shows the maximum of several neighboring columns."""


@dataclass(frozen=True)
class Spectrogram:
    """Levels of frequencies from 0 to `top_hz` and times from `start_s` to `end_s`."""

    levels_db: FloatArray
    """Levels in dB relative to a power of 1 (see `power_columns`) [bins, columns], low frequencies first."""
    top_hz: float
    """Frequency of the last bin; the first bin has the frequency 0, and the others are evenly spaced."""
    start_s: float
    """Time of the first column in seconds from the start of the recording."""
    end_s: float
    """Time of the last column's end in seconds from the start of the recording."""

    @property
    def columns_per_s(self) -> float:
        """Number of columns per second."""
        return float(self.levels_db.shape[1] / (self.end_s - self.start_s))

    def between(self, start_s: float, end_s: float) -> Spectrogram:
        """Return the columns from `start_s` to `end_s` (seconds from the start of the recording), at least one column.

        What lies outside of this spectrogram is left out. The values are not copied.
        """
        start_s = min(max(start_s, self.start_s), self.end_s - 1 / self.columns_per_s)
        first = min(round((start_s - self.start_s) * self.columns_per_s), self.levels_db.shape[1] - 1)
        last = max(round((end_s - self.start_s) * self.columns_per_s), first + 1)
        levels_db = self.levels_db[:, first:last]
        return Spectrogram(levels_db, self.top_hz, start_s, start_s + levels_db.shape[1] / self.columns_per_s)

    def limits_db(self) -> tuple[float, float]:
        """Return the levels in dB of the darkest and the brightest color: the 40th and the 99.95th percentile.

        The brightest color is at least 35 dB above the darkest, so that faint noise stays dark.
        """
        floor, loudest = np.percentile(self.levels_db, [40, 99.95])
        return float(floor), float(max(loudest, floor + 35))


def recording_spectrogram(
    path: Path,
    *,
    decoder: DecoderProcess,
    duration_s: float,
    silent: Sequence[Segment] = (),
    channel: ChannelSource = "mean",
) -> Spectrogram:
    """Compute the spectrogram of a recording in constant memory, up to 12 kHz (`RATE_HZ` / 2).

    The frequency axis ends at half the recording's sample rate if that is lower. The spectrogram has at most about
    `MAX_COLUMNS` columns.

    Args:
        path: file of the recording.
        decoder: process that decodes the recording.
        duration_s: approximate length of the recording, from which the number of columns follows.
        silent: segments that are replaced by silence before the computation.
        channel: number of the channel to use, from 1, or "mean", "left", "right" or "best" (the channel whose
            frequency bands vary most over time).

    Raises:
        AudioError: the recording cannot be decoded.
    """
    rate_hz = min(RATE_HZ, decoder.probe(path).info.rate_hz)
    pool = max(round(duration_s * rate_hz / N_HOP / MAX_COLUMNS), 1)
    with decoder.open(path, rate_hz=rate_hz, channel=channel) as recording:
        blocks = silence_blocks(recording.blocks(), silent, rate_hz=rate_hz)
        levels = list(_pool(_columns(blocks), pool))
        return Spectrogram(np.concatenate(levels, axis=1), rate_hz / 2, 0.0, max(recording.duration_s, 1e-3))


def stretch_spectrogram(path: Path, *, decoder: DecoderProcess, start_s: float, end_s: float) -> Spectrogram:
    """Compute the spectrogram of a segment of a recording in constant memory, up to 12 kHz.

    The mean of all channels is used, and the spectrogram has at most about `MAX_COLUMNS` columns.

    Args:
        path: file of the recording.
        decoder: process that decodes the segment.
        start_s: start of the segment in seconds from the start of the recording.
        end_s: end of the segment in seconds from the start of the recording, which may be after the recording's end.

    Raises:
        AudioError: the segment cannot be decoded, or the recording has no audio at `start_s`.
    """
    pool = max(math.ceil((end_s - start_s) * RATE_HZ / N_HOP / MAX_COLUMNS), 1)
    with decoder.open_clip(path, start_s=start_s, end_s=end_s, rate_hz=RATE_HZ) as clip:
        levels = np.concatenate(list(_pool(_columns(clip.blocks()), pool)), axis=1)
        return Spectrogram(levels, RATE_HZ / 2, start_s, start_s + clip.n_samples / RATE_HZ)


def clip_spectrogram(samples: FloatArray, *, rate_hz: int, start_s: float = 0.0) -> Spectrogram:
    """Compute the spectrogram of a clip, from 0 to half its sample rate.

    Args:
        samples: mono samples [samples], -1 to 1.
        rate_hz: sample rate of the samples in Hz.
        start_s: time of the first sample in seconds from the start of the recording.
    """
    levels = np.concatenate(list(_columns([samples])), axis=1)
    return Spectrogram(levels, rate_hz / 2, start_s, start_s + len(samples) / rate_hz)


def power_columns(blocks: Iterable[FloatArray], *, n_fft: int = N_FFT) -> Iterator[FloatArray]:
    """Yield the power of Hann windows of `n_fft` samples that overlap by half, as columns of a spectrogram.

    Column k is centered at sample k * n_fft / 2; the audio is padded with zeros at both ends.

    Args:
        blocks: consecutive blocks [samples] of mono audio, read lazily.
        n_fft: window length in samples, even.

    Yields:
        Squared magnitudes [columns, n_fft / 2 + 1] of consecutive columns: an array for each block that completes a
        column, and one for the last column.
    """
    window = np.hanning(n_fft).astype(np.float32)
    rest = np.zeros(n_fft // 2, np.float32)
    for block in blocks:
        samples = np.concatenate([rest, block])
        if len(samples) >= n_fft:
            frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[:: n_fft // 2]
            rest = samples[len(frames) * (n_fft // 2) :]
            yield _power(frames * window)
        else:
            rest = samples
    padded = np.concatenate([rest, np.zeros(n_fft, np.float32)])[:n_fft]
    yield _power(padded[np.newaxis] * window)


def _power(frames: FloatArray) -> FloatArray:
    power: FloatArray = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    return power


def _columns(blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
    """Yield levels in dB [bins, columns] of the columns of `power_columns`."""
    for power in power_columns(blocks):
        yield (10 * np.log10(power + SILENCE)).T.astype(np.float32)


def _pool(blocks: Iterable[FloatArray], pool: int) -> Iterator[FloatArray]:
    """Yield the maximum of every `pool` neighboring columns [bins, columns]."""
    if pool == 1:
        yield from blocks
        return
    waiting = np.empty((N_FFT // 2 + 1, 0), np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block], axis=1)
        n_full = waiting.shape[1] // pool
        if n_full:
            full, waiting = waiting[:, : n_full * pool], waiting[:, n_full * pool :]
            yield full.reshape(len(full), n_full, pool).max(axis=2)
    if waiting.shape[1]:
        yield waiting.max(axis=1, keepdims=True)
