"""Detection of rain and wind by minute, with rules tuned on real recordings (docs/ANALYSES.md)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray

Levels = npt.NDArray[np.float64]

SPECTRA_PER_S = 4

MIN_SPECTRA = 8
"""Minimum number of spectra for a result; a shorter rest of a recording has none."""

WIND_HZ = (20, 250)

RAIN_HZ, N_BANDS = (600, 8000), 10
"""Frequency range and number of bands for rain, equally wide in octaves; lower sample rates shrink the range."""

MIN_RATE_HZ = 8000
"""Minimum sample rate for a result."""

RAIN_MIN_DBFS, RAIN_MAX_SPREAD_DB, RAIN_MAX_CHANGE_DB, RAIN_MAX_LEVEL_CHANGE_DB = -46.0, 5.0, 4.6, 4.0
"""Thresholds for rain: median level, spread over bands, and change over time in the median band and overall.

Rain is loud, about equally loud in all bands, and steady. Spread and changes are standard deviations.
"""

RAIN_MIN_KURTOSIS = 3.3
"""Minimum kurtosis of the differences of neighboring samples for rain; a recorder's noise has 3, drops have more."""

WIND_MIN_DBFS, WIND_MIN_SWING_DB = -50.0, 18.0
"""Thresholds for wind: its level, and the range of its level from the 10th to the 90th percentile.

Wind is also louder than the bands for rain.
"""


class WeatherMeter:
    """Detector of rain and wind in one channel, minute by minute, from a few short spectra per second.

    Args:
        sample_rate_hz: sample rate of the channel.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._starts = sample_rate_hz * np.arange(SPECTRA_PER_S) // SPECTRA_PER_S
        self._n = 1 << round(np.log2(sample_rate_hz * 0.0213))
        window = np.hanning(self._n)
        self._window = window.astype(np.float32)
        self._scale = 2 / (self._n * np.square(window).sum())
        top_hz = min(RAIN_HZ[1], 0.45 * sample_rate_hz)
        hz = [*WIND_HZ, *np.geomspace(RAIN_HZ[0], top_hz, N_BANDS + 1)]
        self._edges = np.ceil(np.array(hz) * self._n / sample_rate_hz).astype(int)
        self._powers: list[Levels] = []
        self._n_differences = 0
        self._squares = self._fourth_powers = 0.0
        self._can_judge = sample_rate_hz >= MIN_RATE_HZ

    def add(self, seconds: FloatArray) -> None:
        """Process samples [seconds, sample_rate_hz], one second in each row."""
        if not self._can_judge:
            return
        frames = np.concatenate([seconds[:, start : start + self._n] for start in self._starts])
        powers = np.square(np.abs(np.fft.rfft(frames * self._window))) * self._scale
        self._powers.append(np.add.reduceat(powers, self._edges, axis=1, dtype=np.float64))
        squares = np.square(np.diff(seconds[:, : self._starts[1]]))
        self._n_differences += squares.size
        self._squares += float(squares.sum())
        self._fourth_powers += float(np.vdot(squares, squares))

    def end_minute(self) -> tuple[bool, bool] | None:
        """Return (is rain, is wind) for the samples since the last call, and start the next minute.

        None if there are fewer than `MIN_SPECTRA` (8) spectra, or the sample rate is below `MIN_RATE_HZ` (8 kHz).
        """
        powers = np.concatenate(self._powers) if self._powers else np.empty((0, 1))
        kurtosis = self._n_differences * self._fourth_powers / max(self._squares**2, 1e-30)
        self._powers, self._n_differences, self._squares, self._fourth_powers = [], 0, 0.0, 0.0
        if len(powers) < MIN_SPECTRA:
            return None
        levels_db = 10 * np.log10(powers + 1e-20)
        wind_db, band_powers = levels_db[:, 0], powers[:, 2:-1]
        rain_db = 10 * np.log10(band_powers.sum(axis=1) + 1e-20)
        widths = np.diff(self._edges[2:])
        bands_db = levels_db[:, 2:-1] - 10 * np.log10(widths)
        return kurtosis > RAIN_MIN_KURTOSIS and _is_rain(rain_db, bands_db), _is_wind(wind_db, rain_db)


def _is_rain(total_db: Levels, bands_db: Levels) -> bool:
    """Return True for rain, given levels in dB of all bands together [spectra] and of each band [spectra, bands]."""
    return bool(
        np.median(total_db) > RAIN_MIN_DBFS
        and np.std(np.median(bands_db, axis=0)) < RAIN_MAX_SPREAD_DB
        and np.median(np.std(bands_db, axis=0)) < RAIN_MAX_CHANGE_DB
        and np.std(total_db) < RAIN_MAX_LEVEL_CHANGE_DB
    )


def _is_wind(wind_db: Levels, above_db: Levels) -> bool:
    """Return True for wind, given levels in dB [spectra] of the band for wind and of all bands for rain."""
    low_db, high_db = np.percentile(wind_db, [10, 90])
    return bool(high_db > WIND_MIN_DBFS and high_db - low_db > WIND_MIN_SWING_DB and np.median(wind_db - above_db) > 0)
