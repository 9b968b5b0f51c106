"""Tiles of a spectrogram: gray images of one size by level of detail, for viewers of recordings of any length.

A column of level 0 is 1/93.75 s, and each level halves the number of columns; a column shows the loudest of those that
it replaces. All tiles have one scale of gray, so that neighbors have no seams. Coarse levels are pooled from the
columns of stretches, so that no zoom step decodes what another one has decoded.
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

COLUMNS_PER_S = RATE_HZ / N_HOP
"""Columns in a second at level 0."""

TOPS_KHZ = (12, 24, 48, 96, 192)
"""Upper ends of the frequency axis; a recording has those up to the first that covers half of its sample rate."""

FLOOR_DB, STEP_DB = -115.0, 0.6
"""Level of black, and of a step of gray."""

STRETCH_LEVEL = 5
"""Level of the columns of stretches; finer tiles are computed from the audio, coarser ones from stretches."""

STRETCH_COLUMNS = 4 * TILE_COLUMNS
"""Columns in a stretch, of 11.6 minutes."""

MARGIN_COLUMNS = 16
"""Columns of full resolution (level 0) that are decoded beyond each edge of a range, for the resampler."""

GrayArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ColumnRange:
    """A range of `n` columns of a zoom level's spectrogram, from the column `first` on."""

    level: int
    first: int
    n: int

    @property
    def first_decoded(self) -> int:
        """First column of level 0 to compute, with the margin."""
        return max((self.first << self.level) - MARGIN_COLUMNS, 0)

    @property
    def start_s(self) -> float:
        """Start of the audio to decode."""
        return self.first_decoded / COLUMNS_PER_S

    @property
    def end_s(self) -> float:
        """End of the audio to decode."""
        return (((self.first + self.n) << self.level) + MARGIN_COLUMNS) / COLUMNS_PER_S


@dataclass(frozen=True)
class Tile:
    """The tile number `index` of a level."""

    level: int
    index: int

    @property
    def columns(self) -> ColumnRange:
        """Columns of the tile."""
        return ColumnRange(self.level, self.index * TILE_COLUMNS, TILE_COLUMNS)

    @property
    def n_pooled(self) -> int:
        """Columns of a stretch in one column of the tile."""
        return 1 << (self.level - STRETCH_LEVEL)

    @property
    def stretches(self) -> range:
        """Numbers of the stretches that a coarse tile is pooled from."""
        first = self.index * TILE_COLUMNS * self.n_pooled
        end = first + TILE_COLUMNS * self.n_pooled
        return range(first // STRETCH_COLUMNS, -(-end // STRETCH_COLUMNS))

    @property
    def is_coarse(self) -> bool:
        """True if the tile is pooled from stretches."""
        return self.level >= STRETCH_LEVEL


def stretch(number: int) -> ColumnRange:
    """Return the columns of a stretch."""
    return ColumnRange(STRETCH_LEVEL, number * STRETCH_COLUMNS, STRETCH_COLUMNS)


def find_top_khz(rate_hz: int) -> int:
    """Return the upper end of the frequency axis that shows all of a recording."""
    return next((top for top in TOPS_KHZ if 2000 * top >= rate_hz), TOPS_KHZ[-1])


def count_tiles(duration_s: float, level: int) -> int:
    """Return the number of tiles of a level; 0 for levels coarser than the first with a single tile."""
    n_columns = max(math.ceil(duration_s * COLUMNS_PER_S), 1)
    n_tiles = -(-n_columns // (TILE_COLUMNS << level))
    is_too_coarse = level > 0 and n_columns <= TILE_COLUMNS << (level - 1)
    return 0 if is_too_coarse else n_tiles


def compute_columns(blocks: Iterable[FloatArray], columns: ColumnRange, *, top_khz: int) -> GrayArray:
    """Compute gray columns [columns, bins] from mono audio at 2000 * `top_khz` Hz; those after its end are black.

    Args:
        blocks: Audio from `columns.start_s` on.
        columns: Columns to compute.
        top_khz: One of `TOPS_KHZ`.
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
    """Return the columns of a coarse tile that lie in a stretch, of which `columns` are all."""
    first = tile.index * TILE_COLUMNS * tile.n_pooled - number * STRETCH_COLUMNS
    part = columns[max(first, 0) : first + TILE_COLUMNS * tile.n_pooled]
    pooled: GrayArray = part.reshape(-1, tile.n_pooled, TILE_BINS).max(axis=1)
    return pooled


def encode_tile(parts: Sequence[GrayArray]) -> bytes:
    """Encode consecutive columns as a gray PNG of a tile, black after the last."""
    gray = np.zeros((TILE_COLUMNS, TILE_BINS), np.uint8)
    columns = np.concatenate(parts)
    gray[: len(columns)] = columns
    out = BytesIO()
    Image.fromarray(np.ascontiguousarray(gray.T[::-1])).save(out, format="png", compress_level=3)
    return out.getvalue()
