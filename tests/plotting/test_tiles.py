"""Tiles: the same columns at every level and rate, however the audio comes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dawnchorus.arrays import FloatArray
from dawnchorus.plotting.tiles import (
    STRETCH_COLUMNS,
    STRETCH_LEVEL,
    TILE_BINS,
    TILE_COLUMNS,
    ColumnRange,
    Tile,
    compute_columns,
    count_tiles,
    cut_from_stretch,
    find_top_khz,
    stretch,
)

RATE_HZ = 24_000


def blocks_from(samples: FloatArray, columns: ColumnRange, *, n: int) -> Iterator[FloatArray]:
    """Yield the audio of the columns in blocks of `n` samples."""
    part = samples[round(columns.start_s * RATE_HZ) : round(columns.end_s * RATE_HZ)]
    return (part[k : k + n] for k in range(0, len(part), n))


@pytest.fixture(scope="module")
def noise() -> FloatArray:
    return np.random.default_rng(1).normal(0, 0.1, 12 * RATE_HZ).astype(np.float32)


@pytest.mark.parametrize("n", [1000, 7777, 12 * RATE_HZ])
def test_tiles_of_all_levels_show_the_loudest_of_the_same_columns(noise: FloatArray, n: int) -> None:
    whole = ColumnRange(0, 0, 1024)
    columns = compute_columns([noise], whole, top_khz=12)
    second = Tile(0, 1).columns
    assert (compute_columns(blocks_from(noise, second, n=n), second, top_khz=12) == columns[512:]).all()
    coarse = ColumnRange(3, 16, 64)
    pooled = columns[128:640].reshape(64, 8, TILE_BINS).max(axis=1)
    assert (compute_columns(blocks_from(noise, coarse, n=n), coarse, top_khz=12) == pooled).all()


def test_tone_is_at_its_frequency_and_as_bright_at_every_rate() -> None:
    brightest = []
    for top_khz in (12, 24, 192):
        rate_hz = 2000 * top_khz
        tone = 0.5 * np.sin(2 * np.pi * 3000 * np.arange(rate_hz) / rate_hz).astype(np.float32)
        columns = compute_columns([tone.astype(np.float32)], ColumnRange(0, 0, TILE_COLUMNS), top_khz=top_khz)
        assert columns[40].argmax() == 3000 * TILE_BINS // (1000 * top_khz)
        assert not columns[100:].any(), "black after the end of the recording"
        brightest.append(int(columns[40].max()))
    assert np.ptp(brightest) <= 1


def test_coarse_tiles_consist_of_their_stretches() -> None:
    level = STRETCH_LEVEL + 3
    columns = np.random.default_rng(2).integers(0, 255, (3 * STRETCH_COLUMNS, TILE_BINS), np.uint8)
    tile = Tile(level, 1)
    assert tile.stretches == range(2, 4)
    part = cut_from_stretch(tile, 2, columns[2 * STRETCH_COLUMNS :])
    assert (part == columns[2 * STRETCH_COLUMNS :].reshape(-1, 8, TILE_BINS).max(axis=1)).all()
    fine = Tile(STRETCH_LEVEL, 5)
    assert fine.stretches == range(1, 2)
    inside = cut_from_stretch(fine, 1, columns[STRETCH_COLUMNS : 2 * STRETCH_COLUMNS])
    assert (inside == columns[5 * TILE_COLUMNS : 6 * TILE_COLUMNS]).all()
    assert stretch(1).first == STRETCH_COLUMNS


def test_number_of_tiles_ends_with_one_for_the_whole_recording() -> None:
    assert [count_tiles(60, level) for level in range(6)] == [11, 6, 3, 2, 1, 0]
    assert [count_tiles(86_400, level) for level in (0, 12, 13, 14, 15)] == [15_821, 4, 2, 1, 0]
    assert count_tiles(0, 0) == 1
    assert [find_top_khz(rate_hz) for rate_hz in (8_000, 24_000, 44_100, 96_000, 384_000, 500_000)] == [
        12, 12, 24, 48, 192, 192,
    ]  # fmt: skip
