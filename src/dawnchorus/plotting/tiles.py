"""Tiles of a spectrogram for the zoomable viewer in the browser: gray images of equal size, by zoom level.

A column of level 0 lasts 1/93.75 s. Each next level has half as many columns; a column of it is the maximum of two
columns of the level below. All tiles have the same gray scale, so that neighboring tiles fit together. Fine tiles are
computed from the audio. Coarse tiles are pooled from *stretches*: segments of the recording of 11.6 minutes, whose
columns are computed once at `STRETCH_LEVEL` and cached, so that every zoom level uses the same decoding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from dawnchorus.arrays import FloatArray
from dawnchorus.plotting.spectrogram import N_FFT, N_HOP, RATE_HZ, SILENCE, power_columns

TILE_COLUMNS, TILE_BINS = 512, 256
"""Width and height of a tile in pixels: columns of the spectrogram, and frequency bins."""

COLUMNS_PER_S = RATE_HZ / N_HOP
"""Columns per second at level 0."""

TOPS_KHZ = (12, 24, 48, 96, 192)
"""Upper limits of the frequency axis to choose from.

A recording has tiles for each limit up to the first that reaches half of its sample rate.
"""

FLOOR_DB, STEP_DB = -115.0, 0.6
"""Level that is drawn black, and the increase in level for each of the 255 steps of gray."""

STRETCH_LEVEL = 5
"""Zoom level of the columns of stretches. Tiles of lower levels are computed from the audio, others from stretches."""

STRETCH_COLUMNS = 4 * TILE_COLUMNS
"""Columns in a stretch, at `STRETCH_LEVEL`."""

MARGIN_COLUMNS = 16
"""Columns of level 0 that are computed beyond each edge of a range, because the resampler distorts the edges."""

GrayArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ColumnRange:
    """A range of `n` columns of the spectrogram at a zoom level, starting with the column number `first`."""

    level: int
    """Zoom level: 0 has the shortest columns, and those of each next level are twice as long."""
    first: int
    """Number of the first column at this zoom level, from 0 at the start of the recording."""
    n: int
    """Number of columns."""

    @property
    def first_decoded(self) -> int:
        """Number of the first column of level 0 to compute, with the margin of `MARGIN_COLUMNS` before the range."""
        return max((self.first << self.level) - MARGIN_COLUMNS, 0)

    @property
    def start_s(self) -> float:
        """Start of the audio to decode, margin included, in seconds from the start of the recording."""
        return self.first_decoded / COLUMNS_PER_S

    @property
    def end_s(self) -> float:
        """End of the audio to decode, margin included, in seconds from the start of the recording."""
        return (((self.first + self.n) << self.level) + MARGIN_COLUMNS) / COLUMNS_PER_S


@dataclass(frozen=True)
class Tile:
    """Position of a tile: its zoom level, and its number in the level from 0 at the start of the recording."""

    level: int
    """Zoom level, from 0 for the shortest columns."""
    index: int
    """Number of the tile in its level, from 0."""

    @property
    def columns(self) -> ColumnRange:
        """Columns of the spectrogram that the tile shows, at its zoom level."""
        return ColumnRange(self.level, self.index * TILE_COLUMNS, TILE_COLUMNS)

    @property
    def n_pooled(self) -> int:
        """Number of columns of a stretch that are pooled into one column of the tile.

        Only a tile with `is_coarse` has it.

        Raises:
            ValueError: the tile is computed from the audio.
        """
        return 1 << (self.level - STRETCH_LEVEL)

    @property
    def stretches(self) -> range:
        """Numbers of the stretches (segments of 11.6 minutes) from which the tile is pooled.

        Only a tile with `is_coarse` has them. Some of the stretches may start after the end of the recording.

        Raises:
            ValueError: the tile is computed from the audio.
        """
        first = self.index * TILE_COLUMNS * self.n_pooled
        end = first + TILE_COLUMNS * self.n_pooled
        return range(first // STRETCH_COLUMNS, -(-end // STRETCH_COLUMNS))

    @property
    def is_coarse(self) -> bool:
        """True if the tile is pooled from stretches, False if it is computed from the audio."""
        return self.level >= STRETCH_LEVEL


def stretch(number: int) -> ColumnRange:
    """Return the columns of a stretch, a segment of 11.6 minutes, by its number from 0 at the recording's start."""
    return ColumnRange(STRETCH_LEVEL, number * STRETCH_COLUMNS, STRETCH_COLUMNS)


def find_top_khz(rate_hz: int) -> int:
    """Return the lowest of `TOPS_KHZ` (in kHz) that is not below half the sample rate `rate_hz`.

    If all are below, the highest is returned.
    """
    return next((top for top in TOPS_KHZ if 2000 * top >= rate_hz), TOPS_KHZ[-1])


def count_tiles(duration_s: float, level: int) -> int:
    """Return the number of tiles of a recording of `duration_s` seconds at a zoom level.

    The coarsest level is the first in which one tile shows the whole recording; levels above it have 0 tiles. An empty
    recording has one tile.
    """
    n_columns = max(math.ceil(duration_s * COLUMNS_PER_S), 1)
    n_tiles = -(-n_columns // (TILE_COLUMNS << level))
    is_too_coarse = level > 0 and n_columns <= TILE_COLUMNS << (level - 1)
    return 0 if is_too_coarse else n_tiles


def compute_columns(blocks: Iterable[FloatArray], columns: ColumnRange, *, top_khz: int) -> GrayArray:
    """Compute columns of a spectrogram as gray values from audio.

    Args:
        blocks: mono audio from `columns.start_s` to `columns.end_s` or the end of the recording, in blocks [samples],
            with a sample rate of 2000 * `top_khz` Hz.
        columns: columns to compute.
        top_khz: upper limit of the frequency axis, one of `TOPS_KHZ`.

    Returns:
        Gray values [columns, `TILE_BINS`], low frequencies first; columns after the end of the audio are black.
    """
    scale = top_khz // TOPS_KHZ[0]
    power = np.zeros((columns.n, TILE_BINS), np.float32)
    step = 1 << columns.level
    position = columns.first_decoded - (columns.first << columns.level)
    for computed in power_columns(blocks, n_fft=N_FFT * scale):
        part = computed[max(-position, 0) : max(columns.n * step - position, 0)]
        start = max(position, 0)
        position += len(computed)
        if len(part):
            pooled = np.maximum.reduceat(part, [0, *range(step - start % step, len(part), step)], axis=0)
            into = power[start // step : start // step + len(pooled)]
            bins = pooled[:, : TILE_BINS * scale].reshape(len(pooled), TILE_BINS, scale).max(axis=2)
            np.maximum(into, bins, out=into)
    levels_db = 10 * np.log10(power / scale**2 + SILENCE)
    return np.clip((levels_db - FLOOR_DB) / STEP_DB, 0, 255).astype(np.uint8)


def cut_from_stretch(tile: Tile, number: int, columns: GrayArray) -> GrayArray:
    """Pool the columns of a coarse tile that lie in a stretch.

    Args:
        tile: the tile.
        number: number of the stretch, one of `tile.stretches`.
        columns: gray values of the whole stretch [columns, bins], from `compute_columns`.

    Returns:
        Gray values at the tile's zoom level [columns, bins], each the maximum of `tile.n_pooled` columns.
    """
    first = tile.index * TILE_COLUMNS * tile.n_pooled - number * STRETCH_COLUMNS
    part = columns[max(first, 0) : first + TILE_COLUMNS * tile.n_pooled]
    pooled: GrayArray = part.reshape(-1, tile.n_pooled, TILE_BINS).max(axis=1)
    return pooled


def encode_tile(parts: Sequence[GrayArray]) -> bytes:
    """Encode the gray values of a tile as a PNG; if there are fewer than `TILE_COLUMNS` columns, the rest is black.

    Args:
        parts: consecutive gray values [columns, bins], low frequencies first, with at most `TILE_COLUMNS` columns in
            all.
    """
    gray = np.zeros((TILE_COLUMNS, TILE_BINS), np.uint8)
    columns = np.concatenate(parts)
    gray[: len(columns)] = columns
    out = BytesIO()
    Image.fromarray(np.ascontiguousarray(gray.T[::-1])).save(out, format="png", compress_level=3)
    return out.getvalue()
