"""The mel scale, and log-mel images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InputError

_LINEAR_HZ, _BREAK_HZ, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27
"""Constants of Slaney's mel scale (Auditory Toolbox, 1998), librosa's default.

The scale is linear below 1 kHz, and has 27 steps from there to 6.4 kHz.
"""


def hz_to_mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert frequencies in Hz to Slaney's mel scale."""
    hz = np.asarray(hz, np.float64)
    above = _BREAK_HZ / _LINEAR_HZ + np.log(np.maximum(hz, 1e-9) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, above)


def mel_to_hz(mel: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert Slaney's mels to frequencies in Hz."""
    mel = np.asarray(mel, np.float64)
    break_mel = _BREAK_HZ / _LINEAR_HZ
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, break_mel) - break_mel))
    return np.where(mel < break_mel, mel * _LINEAR_HZ, above)


@lru_cache(maxsize=32)
def mel_filters(*, rate_hz: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float) -> FloatArray:
    """Return triangular mel filters [n_mels, n_fft / 2 + 1] of equal area, as librosa's `filters.mel`.

    The array is cached, and must not be changed.

    Raises:
        InputError: not 0 <= low_hz < high_hz <= rate_hz / 2, or a band is narrower than the spectrum's resolution.
    """
    if not 0 <= low_hz < high_hz <= rate_hz / 2:
        raise InputError(f"mel bands: expected 0 <= low < high <= {rate_hz / 2:g} Hz, got {low_hz:g} and {high_hz:g}.")
    edges = mel_to_hz(np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), n_mels + 2))
    bins = np.linspace(0, rate_hz / 2, n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    if not filters.any(axis=1).all():
        raise InputError(
            f"mel bands: {n_mels} bands from {low_hz:g} to {high_hz:g} Hz are narrower than {rate_hz / n_fft:.1f} Hz, "
            f"the resolution of {n_fft} samples. Use fewer bands or more samples."
        )
    return filters.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class MelImage:
    """Settings of log-mel images of clips, with one column every `hop_s` seconds."""

    n_mels: int = 128
    """Number of mel bands, the rows of an image."""
    hop_s: float = 0.01
    """Seconds from one column to the next."""
    low_hz: float = 50.0
    """Lower edge of the lowest band in Hz."""
    high_hz: float = 15_000.0
    """Upper edge of the highest band in Hz; limited to half the sample rate."""
    range_db: float = 80.0
    """Level below the maximum, in dB, to which lower levels are raised."""

    def levels(self, samples: FloatArray, *, rate_hz: int) -> FloatArray:
        """Return levels [n_mels, columns] of mono samples [n] in dB relative to the maximum, at least -`range_db`.

        The lowest band is first. Columns are centered on every hop from the first sample on. If all samples are 0, all
        levels are 0, the maximum.

        Raises:
            InputError: bands are narrower than the spectrum's resolution, or `low_hz` is above half the sample rate.
        """
        hop_length = max(round(self.hop_s * rate_hz), 1)
        n_fft = 1 << int(np.ceil(np.log2(3 * hop_length)))
        padded = np.pad(samples, n_fft // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
        power = np.abs(np.fft.rfft(frames * np.hanning(n_fft).astype(np.float32), axis=1)) ** 2
        high_hz = min(self.high_hz, rate_hz / 2)
        filters = mel_filters(rate_hz=rate_hz, n_fft=n_fft, n_mels=self.n_mels, low_hz=self.low_hz, high_hz=high_hz)
        bands = filters @ power.T
        levels = 10 * np.log10(np.maximum(bands, 1e-12) / max(float(bands.max()), 1e-12))
        clipped: FloatArray = np.maximum(levels, -self.range_db).astype(np.float32)
        return clipped
