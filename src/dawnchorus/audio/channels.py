"""Selection and mixing of channels, and checks for faulty ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast, get_args

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InputError
from dawnchorus.types import Channel, ChannelSource

Powers = npt.NDArray[np.float64]

DEAD_RATIO = 1e-3
"""Level, relative to the loudest channel, up to which a channel is silent (-60 dB)."""

CANCELLED_POWER = 0.1
"""Power of the mono mix, relative to that of the channels, below which they cancel; unrelated channels have 0.5."""

MAX_NOISE_VARIATION, MAX_NOISE_PEAK = 0.6, 4.0
"""Limits of noise: variation (standard deviation over mean of a band's power), and height of spectral peaks.

White noise has 0.3 and 1.6 here. A song varies more, and a steady tone is a higher peak.
"""

MIN_BAND_POWER = 1e-6
"""Minimum power of a band relative to the strongest one; below are only rounding errors."""

EQUAL_VARIATION = 0.9
"""Variation, relative to the largest, from which channels count as equally clear."""

_ALL_OF_BLOCKS, _EVERY_BLOCK = 16, 8

_FRAME = 512
_FRAMES_IN_BLOCK = 64
_MIN_FRAMES = 30
_FIRST_BIN = 8
"""First FFT bin that is used; below are rumble and the slopes of recorders' filters."""

_BANDS = 16
_NEIGHBORS = 8


def as_channel(channel: object) -> ChannelSource:
    """Check a channel that a user gave, and return it: "mean", "left", "right", "best", or a number from 1.

    Raises:
        InputError: `channel` is neither one of these names nor a whole number of at least 1.
    """
    if isinstance(channel, int | np.integer) and not isinstance(channel, bool) and channel >= 1:
        return int(channel)
    if isinstance(channel, str) and channel in get_args(Channel):
        return cast(Channel, channel)
    names = ", ".join(get_args(Channel))
    raise InputError(f"channel: expected one of {names}, or a channel's number from 1, got {channel!r}.")


def mix_to_mono(samples: FloatArray) -> FloatArray:
    """Average the channels: [frames, channels] -> [frames], float32."""
    n_channels = samples.shape[1]
    if n_channels == 1:
        return np.ascontiguousarray(samples[:, 0])
    mono: FloatArray
    if n_channels == 2:  # equal to the mean to the last bit, and 20 times as fast
        mono = (samples[:, 0] + samples[:, 1]) * np.float32(0.5)
    else:
        mono = samples.mean(axis=1, dtype=np.float32)
    return mono


def name_channel(index: int, n_channels: int) -> str:
    """Return the name of the channel at `index`: "left" or "right" of two channels, else "channel 1" for index 0."""
    return ("left", "right")[index] if n_channels == 2 else f"channel {index + 1}"


class ChannelStatistics:
    """Level and noise statistics of each channel and the mono mix, updated block by block.

    The statistics are defined after the first block. Indices of channels count from 0.

    Args:
        n_channels: number of channels, which all blocks have.
    """

    def __init__(self, n_channels: int) -> None:
        self.n_channels = n_channels
        self._n_blocks = self._n = self._n_frames = 0
        self._sums, self._squares = np.zeros(n_channels + 1), np.zeros(n_channels + 1)
        n_bins = _FRAME // 2 + 1 - _FIRST_BIN
        self._spectrum = np.zeros((n_channels, n_bins))
        self._band_sums, self._band_squares = np.zeros((n_channels, _BANDS)), np.zeros((n_channels, _BANDS))

    def add(self, block: FloatArray) -> None:
        """Add a block of finite samples [frames, channels]; after the first 16 blocks, only every eighth is used."""
        self._n_blocks += 1
        if self._n_blocks > _ALL_OF_BLOCKS and self._n_blocks % _EVERY_BLOCK:
            return
        signals = np.column_stack([block, mix_to_mono(block)])
        self._n += len(block)
        self._sums += signals.sum(axis=0, dtype=np.float64)
        self._squares += np.einsum("ij,ij->j", signals, signals, dtype=np.float64)
        n_frames = len(block) // _FRAME
        frames = block[: n_frames * _FRAME].reshape(n_frames, _FRAME, self.n_channels)
        self._add_frames(frames[:: -(-n_frames // _FRAMES_IN_BLOCK) or 1])

    def _add_frames(self, frames: FloatArray) -> None:
        """Add the spectra of frames [n, samples, channels] to the sums."""
        windowed = frames.transpose(2, 0, 1) * np.hanning(_FRAME).astype(np.float32)
        powers = np.square(np.abs(np.fft.rfft(windowed)[..., _FIRST_BIN:]))
        edges = np.linspace(0, powers.shape[2], _BANDS, endpoint=False).astype(int)
        bands = np.add.reduceat(powers, edges, axis=2)
        self._n_frames += frames.shape[0]
        self._spectrum += powers.sum(axis=1)
        self._band_sums += bands.sum(axis=1)
        self._band_squares += np.square(bands).sum(axis=1)

    def powers(self) -> Powers:
        """Return the variance [n_channels + 1] of each channel and, last, of the mono mix."""
        variances: Powers = np.maximum(self._squares / self._n - np.square(self._sums / self._n), 0)
        return variances

    def dead(self) -> list[int]:
        """Return the indices of silent channels, at least 60 dB below the loudest one; empty if all have no signal."""
        powers = self.powers()[:-1]
        return np.flatnonzero(powers <= powers.max() * DEAD_RATIO**2).tolist() if powers.max() > 0 else []

    def only_noise(self) -> list[int]:
        """Return the indices of channels that have only steady noise, without the silent ones (`dead`).

        Empty if all channels are noise or silent, and before 30 frames of 512 samples were analyzed.
        """
        if self._n_frames < _MIN_FRAMES:
            return []
        steady = (self.variations() < MAX_NOISE_VARIATION) & (self._peaks() < MAX_NOISE_PEAK)
        dead = self.dead()
        noisy = [k for k in np.flatnonzero(steady).tolist() if k not in dead]
        return noisy if len(noisy) + len(dead) < self.n_channels else []

    def variations(self) -> Powers:
        """Return the variation [n_channels] of each channel: the maximum over its frequency bands; 0 for silence.

        A band's variation is the standard deviation of its power over time, divided by the mean.
        """
        means = self._band_sums / max(self._n_frames, 1)
        deviations = np.sqrt(np.maximum(self._band_squares / max(self._n_frames, 1) - np.square(means), 0))
        is_audible = means > MIN_BAND_POWER * means.max(axis=1, keepdims=True)
        largest: Powers = np.divide(deviations, means, out=np.zeros_like(means), where=is_audible).max(axis=1)
        return largest

    def _peaks(self) -> Powers:
        padded = np.pad(self._spectrum, ((0, 0), (_NEIGHBORS, _NEIGHBORS)), mode="reflect")
        around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBORS + 1, axis=1), axis=2)
        highest: Powers = np.divide(self._spectrum, around, out=np.zeros_like(around), where=around > 0).max(axis=1)
        return highest

    def cancels(self) -> bool:
        """Return True if the channels cancel each other in the mono mix; False if a channel is silent (`dead`).

        They cancel if the power of the mix is below a tenth of the mean power of the channels.
        """
        powers = self.powers()
        return bool(powers[-1] < CANCELLED_POWER * powers[:-1].mean()) and not self.dead()

    def best(self) -> int:
        """Return the index of the clearest channel, the one with the largest value in `variations`.

        Channels in `dead` and `only_noise` are ignored. Channels within 10 % of the largest value count as equally
        clear; of these, the loudest one is returned. If all channels are ignored, the result is 0, the first.
        """
        variations = self.variations()
        variations[[*self.dead(), *self.only_noise()]] = -1
        is_good = variations >= EQUAL_VARIATION * variations.max()
        return int(np.argmax(np.where(is_good, self.powers()[:-1], -1)))

    def faults(self) -> Iterator[str]:
        """Yield a message for each channel that is silent (`dead`) or has only noise (`only_noise`)."""
        for k, what in self._bad():
            yield f"channels: channel {k + 1} of {self.n_channels} is {what}"

    def _bad(self) -> list[tuple[int, str]]:
        return [(k, "silent") for k in self.dead()] + [(k, "only noise") for k in self.only_noise()]

    def warnings(self, used: int | None) -> Iterator[str]:
        """Yield messages about faults of the channel at the index `used`.

        If `used` is None, they are about all channels that weaken the mono mix, and about channels that cancel out.
        """
        bad = self._bad()
        advice = (
            "the channel left, right or best reads one, each all of them (the option channel, --channel of identify)"
        )
        for k, what in bad:
            whole = f"{name_channel(k, self.n_channels)} is {what}"
            if used is None:
                yield f"channels: {whole}; it weakens the mean of all: {advice}"
            elif used == k:
                others = [name_channel(n, self.n_channels) for n in range(self.n_channels) if n not in dict(bad)]
                better = f"; {' and '.join(others[:3])} {'has' if len(others) == 1 else 'have'} more" if others else ""
                yield f"channels: {whole}, and it is the one that is read{better}"
        if used is None and self.cancels():
            powers = self.powers()
            left_db = 10 * np.log10(max(powers[-1] / powers[:-1].mean(), 1e-20))
            yield f"channels: they cancel out in their mean ({left_db:.0f} dB are left): {advice}"


def find_best_channel(blocks: Iterable[FloatArray], n_channels: int) -> int:
    """Return the index of the clearest channel of a recording; see `ChannelStatistics.best`.

    `blocks` are all blocks [frames, channels] of the recording.
    """
    statistics = ChannelStatistics(n_channels)
    for block in blocks:
        statistics.add(np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0))
    return statistics.best()
