"""Spectra as graphs can have them."""

from __future__ import annotations

import pytest
import torch

from dawnchorus.training.spectrum import PowerSpectrum


@pytest.mark.parametrize(
    ("window_samples", "n_fft", "hop_length"),
    [(16_000, 1024, 320), (5_000, 512, 100), (999, 256, 256), (6_000, 1000, 441), (8_000, 400, 160), (9_000, 90, 30)],
)
def test_power_is_torchs(window_samples: int, n_fft: int, hop_length: int) -> None:
    x = torch.randn(2, window_samples, generator=torch.Generator().manual_seed(2))
    power = PowerSpectrum(window_samples=window_samples, n_fft=n_fft, hop_length=hop_length)(x)
    window = torch.hann_window(n_fft, dtype=torch.float64)
    stft = torch.stft(
        x.double(), n_fft, hop_length, window=window, center=True, pad_mode="constant", return_complex=True
    )
    expected = stft.abs() ** 2
    assert power.shape == (2, n_fft // 2 + 1, 1 + window_samples // hop_length)
    n = min(power.shape[2], expected.shape[2])
    assert float((power[:, :, :n] - expected[:, :, :n]).abs().max() / expected.max()) < 3e-6
