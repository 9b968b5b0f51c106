"""Measurements of one recording from which its faults are detected."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.sample_analyses import Table, build_table
from dawnchorus.inference.analyses.health.faults import DEAD_DBFS
from dawnchorus.inference.analyses.health.hum import HumMeter
from dawnchorus.inference.analyses.health.weather import WeatherMeter
from dawnchorus.inference.analyses.levels import Moments, decibels, reduce_frames
from dawnchorus.inference.analyses.minutes import MINUTE_S, Framer

Flags = npt.NDArray[np.bool_]

CELLS_PER_S = 100
"""Number of cells of 10 ms in a second; a cell in which all samples are equal is constant.

Samples after the recording's last complete cell, and at the end of each second if the rate is not a multiple of 100 Hz,
belong to no cell; they are used for level, peak, offset and clipping.
"""

GAP_CELLS = 5
"""Minimum number of successive constant cells in a gap: 50 ms."""

FULL_SCALE = 0.99
"""Minimum absolute value of a clipped sample; flat tops at a recording's own peak count as clipped as well."""

CHUNK_S = 10
"""Number of seconds that are processed together; it divides a minute."""

MIN_FLAT_LEVEL = 0.003
"""Minimum peak (a hundred steps of 16 bits) for flat tops to count as clipped.

Below, they are steps of the converter.
"""

DEAD_POWER = 10 ** (DEAD_DBFS / 10)
"""Variance of a second below which it has no sound."""

MAX_DEAD_RANGE = 1e-3
"""Maximum range of the samples in a second without sound; sparse clicks may reach it."""


class Health:
    """Measurements of one recording, updated block by block; implements `SampleAnalysis`."""

    def __init__(self) -> None:
        self._channels: list[_Channel] = []

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Process a block of samples; see `SampleAnalysis.on_samples`."""
        self._channels = self._channels or [_Channel(sample_rate_hz) for _ in range(block.shape[1])]
        for channel, samples in zip(self._channels, block.T, strict=True):
            channel.add(samples)

    def finish(self) -> Table:
        """Return one row per channel; without samples, no rows and no columns. docs/ANALYSES.md lists the columns."""
        rows = [{"channel": number, **channel.measure()} for number, channel in enumerate(self._channels, 1)]
        return build_table({name: [row[name] for row in rows] for name in (rows[0] if rows else ())})


class _Channel:
    """Measurements of one channel, updated by chunks of `CHUNK_S` seconds."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._chunks = Framer(CHUNK_S * sample_rate_hz)
        self._moments = Moments()
        self._constant, self._zero, self._dead = _Runs(), _Runs(), _Runs()
        self._top, self._bottom = _Extreme(), _Extreme()
        self._n_full_scale = 0
        self._hum, self._weather = HumMeter(sample_rate_hz), WeatherMeter(sample_rate_hz)
        self._n_chunks = 0
        self._weather_minutes: list[tuple[bool, bool]] = []

    def add(self, samples: FloatArray) -> None:
        for chunk in self._chunks.push(samples):
            self._add_seconds(chunk.reshape(CHUNK_S, self._sample_rate_hz))
            self._n_chunks += 1
            if self._n_chunks * CHUNK_S % MINUTE_S == 0:
                self._end_minute()

    def _add_seconds(self, seconds: FloatArray) -> None:
        """Process samples [seconds, samples]."""
        self._hum.add(seconds)
        self._weather.add(seconds)
        cell = self._sample_rate_hz // CELLS_PER_S
        maxima, minima = self._add_cells(seconds[:, : CELLS_PER_S * cell].reshape(-1, cell))
        self._dead.add(_find_dead(seconds, maxima, minima))
        if self._sample_rate_hz % CELLS_PER_S:
            self._add_levels(seconds[:, CELLS_PER_S * cell :])

    def _end_minute(self) -> None:
        weather = self._weather.end_minute()
        self._weather_minutes += [] if weather is None else [weather]

    def _add_rest(self) -> None:
        """Process the samples of the incomplete last chunk."""
        n_seconds = len(self._chunks.rest) // self._sample_rate_hz
        seconds, rest = np.split(self._chunks.rest, [n_seconds * self._sample_rate_hz])
        if n_seconds:
            self._add_seconds(seconds.reshape(n_seconds, -1))
        cell = self._sample_rate_hz // CELLS_PER_S
        cells, rest = np.split(rest, [len(rest) // cell * cell])
        if len(cells):
            self._add_cells(cells.reshape(-1, cell))
        if len(rest):
            self._add_levels(rest[np.newaxis])
        self._end_minute()

    def _add_cells(self, cells: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Process complete cells [cells, samples], and return the maximum and minimum of each cell."""
        maxima, minima = self._add_levels(cells)
        is_constant = maxima == minima
        self._constant.add(is_constant)
        self._zero.add(is_constant & (maxima == 0))
        return maxima, minima

    def _add_levels(self, frames: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Add frames [n, samples] to level, peak, offset and clipping; return maximum and minimum of each frame."""
        self._moments.add(frames)
        maxima, minima = reduce_frames(np.maximum, frames), reduce_frames(np.minimum, frames)
        self._top.add(frames, maxima)
        is_lowest = minima == minima.min()
        self._bottom.add(-frames[is_lowest], -minima[is_lowest])
        loud = frames[np.maximum(maxima, -minima) >= FULL_SCALE]
        self._n_full_scale += int(np.count_nonzero(np.abs(loud) >= FULL_SCALE))
        return maxima, minima

    def measure(self) -> dict[str, float]:
        self._add_rest()
        hum_hz, hum_db = self._hum.measure()
        weather = np.array(self._weather_minutes, bool).reshape(-1, 2)
        rain_share, wind_share = weather.mean(axis=0) if len(weather) else (np.nan, np.nan)
        peak = max(self._top.value, self._bottom.value, 0.0)
        return {
            "level_dbfs": decibels(self._moments.variance),
            "peak_dbfs": decibels(peak**2),
            "clipped_share": self._count_clipped(peak) / max(self._moments.n, 1),
            "dc_offset": self._moments.mean,
            "constant_share": self._constant.share,
            "zero_share": self._zero.share,
            "dead_share": self._dead.share,
            "longest_dead_s": float(self._dead.longest),
            "n_gaps": self._constant.n_gaps,
            "longest_gap_s": self._constant.longest_gap / CELLS_PER_S,
            "hum_hz": hum_hz,
            "hum_db": hum_db,
            "rain_share": rain_share,
            "wind_share": wind_share,
        }

    def _count_clipped(self, peak: float) -> int:
        """Return the number of samples at full scale or, if these are more, in flat tops at maximum or minimum."""
        is_constant = self._top.value == -self._bottom.value
        n_flat = 0 if is_constant or peak < MIN_FLAT_LEVEL else self._top.n_flat + self._bottom.n_flat
        return max(self._n_full_scale, n_flat)


def _find_dead(seconds: FloatArray, maxima: FloatArray, minima: FloatArray) -> Flags:
    """Return the mask of those of the `seconds` [seconds, samples] that have no sound.

    `maxima` and `minima` are those of all cells. The exact level is computed only for seconds with a small range.
    """
    n = len(seconds)
    ranges = maxima.reshape(n, -1).max(axis=1) - minima.reshape(n, -1).min(axis=1)
    is_dead: Flags = ranges <= MAX_DEAD_RANGE
    is_dead[is_dead] = seconds[is_dead].var(axis=1, dtype=np.float64) < DEAD_POWER
    return is_dead


class _Extreme:
    """Maximum of a signal, and the number of samples in flat tops there: three or more equal ones in a row."""

    def __init__(self) -> None:
        self.value = -np.inf
        self.n_flat = 0

    def add(self, cells: FloatArray, maxima: FloatArray) -> None:
        """Process cells [n, samples], with the maximum of each cell."""
        largest = float(maxima.max())
        if largest > self.value:
            self.value, self.n_flat = largest, 0
        if largest == self.value:
            is_top = cells[maxima == largest] == largest
            self.n_flat += int(np.count_nonzero(is_top[:, 2:] & is_top[:, 1:-1] & is_top[:, :-2]))


class _Runs:
    """Statistics of runs of cells with a property.

    Runs at the start and end of a recording, as codecs and editors leave them, do not count as gaps.
    """

    def __init__(self) -> None:
        self.n_gaps = self.longest_gap = self.longest = 0
        """Number of gaps (runs of at least `GAP_CELLS` cells).

        Number of cells in the longest gap, and in the longest run.
        """
        self._n = self._n_true = self._open = 0

    @property
    def share(self) -> float:
        """Share of the cells that have the property."""
        return self._n_true / max(self._n, 1)

    def add(self, flags: Flags) -> None:
        """Process flags [cells]; a run may span several calls."""
        if self._open or flags.any():
            self._add_runs(flags)
        self._n += len(flags)
        self._n_true += int(np.count_nonzero(flags))

    def _add_runs(self, flags: Flags) -> None:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]))).tolist()
        if self._open and not flags[0]:
            edges = [0, 0, *edges]
        before, self._open = self._open, 0
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            length = end - start + (before if start == 0 else 0)
            is_first = length == self._n + end
            self.longest = max(self.longest, length)
            if end == len(flags):
                self._open = length
            elif length >= GAP_CELLS and not is_first:
                self.n_gaps += 1
                self.longest_gap = max(self.longest_gap, length)
