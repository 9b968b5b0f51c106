"""Acoustic indices: the values of scikit-maad, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fixtures.scikit_maad import SIGNALS, maad_indices, signal

from dawnchorus.audio.sample_analyses import Table
from dawnchorus.inference.analyses.indices import Indices

MAAD = {
    "song": {"level_dbfs": -17.39071, "aci": 418.388672, "adi": 2.983695, "aei": 0.084201, "bi": 43.110845}
    | {"ndsi": 0.640408, "h": 0.636374},
    "noise": {"level_dbfs": -40.015854, "aci": 300.001276, "adi": 2.079442, "aei": 7.6e-05, "bi": 41.986246}
    | {"ndsi": 0.541697, "h": 0.994243},
    "hum": {"level_dbfs": -29.009713, "aci": 451.281623, "adi": 2.03503, "aei": 0.542839, "bi": 0.697637}
    | {"ndsi": -0.998473, "h": 0.143978},
}
"""Printed by `python -m tests.fixtures.scikit_maad` with scikit-maad 1.5.2."""


def compute(samples: np.ndarray, rate_hz: int, *, block: int = 1 << 16) -> Table:
    """Return the indices of samples [n, channels], which come in blocks of `block` frames."""
    analysis = Indices()
    for start in range(0, len(samples), block):
        analysis.on_samples(samples[start : start + block], rate_hz)
    return analysis.finish()


@pytest.mark.parametrize("name", SIGNALS)
def test_indices_are_those_of_scikit_maad(name: str) -> None:
    columns = compute(signal(name)[:, np.newaxis], SIGNALS[name])
    assert {index: columns[index][0] for index in MAAD[name]} == pytest.approx(MAAD[name], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", SIGNALS)
def test_values_held_here_are_still_those_of_scikit_maad(name: str) -> None:
    pytest.importorskip("maad", reason="scikit-maad is not installed", exc_type=ImportError)
    assert maad_indices(signal(name), SIGNALS[name]) == pytest.approx(MAAD[name], rel=1e-5, abs=1e-6)


def test_every_minute_and_channel_has_a_row_whatever_the_blocks() -> None:
    noise = np.random.default_rng(0).standard_normal((4000 * 130, 2)).astype(np.float32) / 8
    columns = compute(noise, 4000)
    assert columns["start_s"].tolist() == [0, 0, 60, 60, 120, 120]
    assert columns["end_s"].tolist() == [60, 60, 120, 120, 130, 130]
    assert columns["channel"].tolist() == [1, 2, 1, 2, 1, 2]
    odd = compute(noise, 4000, block=33_333)
    alone = compute(noise[4000 * 60 : 4000 * 120, 1:], 4000)
    for name in columns.dtype.names:
        values = columns[name]
        np.testing.assert_allclose(odd[name], values, rtol=1e-5)
        if name not in ("start_s", "end_s", "channel"):
            assert alone[name][0] == pytest.approx(values[3], rel=1e-6)


def test_silence_has_a_level_and_no_indices() -> None:
    columns = compute(np.full((8000, 1), 0.25, np.float32), 4000)
    assert columns["level_dbfs"].tolist() == [-np.inf]
    assert all(np.isnan(columns[name]).all() for name in ("aci", "adi", "aei", "bi", "ndsi", "h"))


def test_less_than_a_second_has_no_row() -> None:
    columns = compute(np.ones((3999, 1), np.float32), 4000)
    assert len(columns) == 0


@pytest.mark.parametrize("rate_hz", [8000, 200_000])
def test_indices_of_any_sample_rate_are_numbers(rate_hz: int) -> None:
    noise = np.random.default_rng(0).standard_normal((rate_hz * 2, 1)).astype(np.float32) / 8
    columns = compute(noise, rate_hz)
    assert all(np.isfinite(columns[name]).all() for name in columns.dtype.names)


def test_audio_without_a_whole_band_has_no_diversity() -> None:
    columns = compute(np.random.default_rng(0).standard_normal((5000, 1)).astype(np.float32), 500)
    assert np.isnan(columns["adi"]).all()
    assert np.isfinite(columns["aci"]).all()
