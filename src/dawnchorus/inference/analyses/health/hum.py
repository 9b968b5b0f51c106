"""Detection of mains hum: spectral lines at 50 or 60 Hz and their multiples."""

from __future__ import annotations

import numpy as np

from dawnchorus.arrays import FloatArray

MAINS_HZ = (50, 60)

N_HARMONICS = 6

SUPPORT = 3
"""Minimum number of prominent harmonics if the fundamental is not prominent."""

REDUCED_RATE_HZ = 2000
"""Sample rate in Hz for the spectra of one second, whose bins are 1 Hz wide."""

MIN_SPECTRA = 5

MIN_LINE_DB = 8.0
"""Minimum prominence of a line; noise stays below in the mean of `MIN_SPECTRA` spectra."""

_NEIGHBORS_HZ = (4, 12)
"""Distances in Hz of the nearest and the farthest bins that a line is compared with."""


class HumMeter:
    """Detector of mains hum in one channel, by a mean spectrum up to 1 kHz that is updated second by second.

    Args:
        sample_rate_hz: sample rate of the channel.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._step = max(sample_rate_hz // REDUCED_RATE_HZ, 1)
        self._n = sample_rate_hz // self._step
        self._weights = np.full(self._step, 1 / self._step, np.float32)
        self._window = np.hanning(self._n).astype(np.float32)
        self._powers = np.zeros(self._n // 2 + 1)
        self._n_spectra = 0

    def add(self, seconds: FloatArray) -> None:
        """Process samples [seconds, sample_rate_hz], one second in each row."""
        pieces = seconds[:, : self._n * self._step].reshape(len(seconds), self._n, self._step)
        reduced = pieces @ self._weights
        reduced -= reduced.mean(axis=1, keepdims=True)
        self._powers += np.square(np.abs(np.fft.rfft(reduced * self._window))).sum(axis=0)
        self._n_spectra += len(seconds)

    def measure(self) -> tuple[float, float]:
        """Return the mains frequency (50 or 60 Hz) with the most prominent lines, and their prominence in dB.

        Prominence is the level above the neighboring frequencies. Both values are NaN for less than 5 s of samples;
        only the frequency is NaN if the prominence is below `MIN_LINE_DB`.
        """
        if self._n_spectra < MIN_SPECTRA:
            return np.nan, np.nan
        by_hz = {mains_hz: self._prominence_db(mains_hz) for mains_hz in MAINS_HZ}
        mains_hz, prominence_db = max(by_hz.items(), key=lambda entry: entry[1])
        return (float(mains_hz) if prominence_db >= MIN_LINE_DB else np.nan), prominence_db

    def _prominence_db(self, mains_hz: int) -> float:
        """Return the prominence in dB of the fundamental, or the level that `SUPPORT` lines reach, if it is higher."""
        highest_hz = len(self._powers) - 1 - _NEIGHBORS_HZ[1]
        lines_hz = range(mains_hz, min(mains_hz * N_HARMONICS, highest_hz) + 1, mains_hz)
        lines_db = [self._line_db(line_hz) for line_hz in lines_hz]
        if not lines_db:
            return 0.0
        supported_db = sorted(lines_db)[-SUPPORT] if len(lines_db) >= SUPPORT else 0.0
        return max(lines_db[0], supported_db, 0.0)

    def _line_db(self, line_hz: int) -> float:
        near, far = _NEIGHBORS_HZ
        below = self._powers[line_hz - far : line_hz - near + 1]
        above = self._powers[line_hz + near : line_hz + far + 1]
        around = float(np.median(np.concatenate([below, above])))
        line = float(self._powers[line_hz - 1 : line_hz + 2].max())
        return 10 * float(np.log10(line / around)) if around > 0 else 0.0
