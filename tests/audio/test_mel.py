"""Mel bands by exact numbers."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.audio.mel import MelImage, hz_to_mel, mel_filters, mel_to_hz
from dawnchorus.errors import InputError


def test_slaneys_scale_has_15_mels_below_1_khz_and_27_to_6400_hz() -> None:
    hz, mel = [0, 500, 1000, 6400], [0, 7.5, 15, 42]
    np.testing.assert_allclose(hz_to_mel(hz), mel, rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(mel), hz, rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel([999.9, 1000.1, 12_345])), [999.9, 1000.1, 12_345], rtol=1e-12)
    np.testing.assert_allclose(hz_to_mel(np.sqrt(6.4) * 1000), 15 + 13.5, rtol=1e-12)


def test_filters_are_triangles_of_equal_area() -> None:
    """Below 1 kHz the scale is linear: four bands to 1 kHz have their edges every 200 Hz."""
    filters = mel_filters(rate_hz=2000, n_fft=20, n_mels=4, low_hz=0, high_hz=1000)
    expected = np.zeros((4, 11))
    for band in range(4):
        expected[band, 2 * band + 1 : 2 * band + 4] = [0.0025, 0.005, 0.0025]
    np.testing.assert_allclose(filters, expected, atol=1e-9)
    assert filters.dtype == np.float32
    assert mel_filters(rate_hz=2000, n_fft=20, n_mels=4, low_hz=0, high_hz=1000) is filters, "computed once"


def test_filters_above_1_khz_grow_with_frequency() -> None:
    """Edges are at 1000, 1000 x 6.4^(9/27), 1000 x 6.4^(18/27) and 6400 Hz; areas are 1 in Hz."""
    filters = mel_filters(rate_hz=16_000, n_fft=1600, n_mels=2, low_hz=1000, high_hz=6400)
    edges = [1000 * 6.4 ** (k / 3) for k in range(4)]
    np.testing.assert_allclose(filters.sum(axis=1) * 10, 1, rtol=1e-3)
    for band in range(2):
        held = np.flatnonzero(filters[band]) * 10
        assert (held[0] - 10, held[-1] + 10) == (edges[band] // 10 * 10, np.ceil(edges[band + 2] / 10) * 10)


@pytest.mark.parametrize(("low_hz", "high_hz"), [(-1, 500), (500, 500), (600, 500), (0, 1001), (-0.5, 1000)])
def test_frequencies_out_of_order_are_refused(low_hz: float, high_hz: float) -> None:
    with pytest.raises(InputError, match="expected 0 <= low < high <= 1000 Hz, got"):
        mel_filters(rate_hz=2000, n_fft=20, n_mels=2, low_hz=low_hz, high_hz=high_hz)


def test_bands_narrower_than_the_spectrum_are_refused() -> None:
    with pytest.raises(InputError, match="40 bands from 0 to 1000 Hz are narrower than 100.0 Hz"):
        mel_filters(rate_hz=2000, n_fft=20, n_mels=40, low_hz=0, high_hz=1000)


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, n).astype(np.float32)


def test_levels_of_noise_are_as_recorded() -> None:
    """Golden values: of this function at its first release; a model's training and its graph must see the same."""
    narrow = MelImage(n_mels=40).levels(noise(1600), rate_hz=16_000)
    assert narrow.shape == (40, 11)
    np.testing.assert_allclose(
        narrow[[0, 10, 20, 39], [0, 3, 7, 10]], [-16.9894, -2.5324, -7.6161, -12.5445], atol=1e-3
    )
    wide = MelImage().levels(noise(4800), rate_hz=48_000)
    assert wide.shape == (128, 11)
    np.testing.assert_allclose(wide[[0, 30, 90, 127], [0, 3, 7, 10]], [-5.8654, -3.5317, -7.5008, -11.1797], atol=1e-3)


def test_levels_end_80_db_below_the_loudest() -> None:
    samples = noise(4800)
    samples[2400:] = 0
    levels = MelImage(n_mels=20).levels(samples, rate_hz=16_000)
    assert (levels.max(), levels.min()) == (0.0, -80.0)
    assert not MelImage(n_mels=20).levels(np.zeros(480, np.float32), rate_hz=16_000).any(), "silence is all one level"


def test_columns_are_at_least_one_sample_apart() -> None:
    assert MelImage(n_mels=1, hop_s=1e-9).levels(noise(10), rate_hz=16_000).shape == (1, 11)


def test_an_image_is_described_by_name_only() -> None:
    with pytest.raises(TypeError):
        MelImage(64)  # type: ignore[misc]


@pytest.mark.ops
def test_mel_bands_are_librosas() -> None:
    filters = mel_filters(rate_hz=22_050, n_fft=2048, n_mels=40, low_hz=0, high_hz=11_025)
    librosa = pytest.importorskip("librosa")
    np.testing.assert_allclose(filters, librosa.filters.mel(sr=22_050, n_fft=2048, n_mels=40), atol=1e-7)
