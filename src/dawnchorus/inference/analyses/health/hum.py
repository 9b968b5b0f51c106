"""Mains hum: lines at 50 or 60 Hz and their multiples."""

from __future__ import annotations

import numpy as np

from dawnchorus.arrays import FloatArray

MAINS_HZ = (50, 60)

N_HARMONICS = 6

SUPPORT = 3
"""Number of harmonics that must stand out if the fundamental does not."""

REDUCED_RATE_HZ = 2000
"""Rate at which spectra of one second are computed, with bins of one hertz."""

MIN_SPECTRA = 5

MIN_LINE_DB = 8.0
"""Prominence from which a line is one: bins of noise reach less, also in the mean of `MIN_SPECTRA` spectra."""

_NEIGHBORS_HZ = (4, 12)
"""Distance of the bins that a line is compared with, from the nearest to the farthest."""


class HumMeter:
    """Mean spectrum of one channel up to 1 kHz, updated second by second."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._step = max(sample_rate_hz // REDUCED_RATE_HZ, 1)
        self._n = sample_rate_hz // self._step
        self._weights = np.full(self._step, 1 / self._step, np.float32)
        self._window = np.hanning(self._n).astype(np.float32)
        self._powers = np.zeros(self._n // 2 + 1)
        self._n_spectra = 0

    def add(self, seconds: FloatArray) -> None:
        """Add samples [seconds, samples]."""
        pieces = seconds[:, : self._n * self._step].reshape(len(seconds), self._n, self._step)
        reduced = pieces @ self._weights
        reduced -= reduced.mean(axis=1, keepdims=True)
        self._powers += np.square(np.abs(np.fft.rfft(reduced * self._window))).sum(axis=0)
        self._n_spectra += len(seconds)

    def measure(self) -> tuple[float, float]:
        """Return the mains frequency in Hz with the strongest lines, and their level in dB; NaN for less than 5 s.

        Where no line stands out by `MIN_LINE_DB`, only the frequency is NaN.
        """
        if self._n_spectra < MIN_SPECTRA:
            return np.nan, np.nan
        by_hz = {mains_hz: self._prominence_db(mains_hz) for mains_hz in MAINS_HZ}
        mains_hz, prominence_db = max(by_hz.items(), key=lambda entry: entry[1])
        return (float(mains_hz) if prominence_db >= MIN_LINE_DB else np.nan), prominence_db

    def _prominence_db(self, mains_hz: int) -> float:
        """Return the prominence of the fundamental, or that which `SUPPORT` of the lines have, if it is larger."""
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
