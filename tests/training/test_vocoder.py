"""Pitch and speed."""

from __future__ import annotations

import pytest
import torch

from dawnchorus.training.vocoder import change_pitch_and_speed

RATE_HZ = 22_050


def peak_hz(wave: torch.Tensor) -> float:
    """Return the strongest frequency of the middle of a waveform [samples]."""
    middle = wave[len(wave) // 4 : -len(wave) // 4]
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle))).abs()
    return float(spectrum.argmax()) * RATE_HZ / len(middle)


def test_pitch_and_speed_change_by_themselves() -> None:
    t = torch.arange(RATE_HZ) / RATE_HZ
    tones = torch.sin(2 * torch.pi * torch.tensor([[1000.0], [1000.0], [3000.0]]) * t)
    one, higher, slower = torch.ones(3), torch.tensor([1.0, 1.25, 0.8]), torch.tensor([1.0, 1.0, 0.7])
    same = change_pitch_and_speed(tones, one, one)
    assert torch.allclose(same, tones, atol=1e-3)
    changed = change_pitch_and_speed(tones, higher, slower)
    assert changed.shape == tones.shape
    assert [peak_hz(wave) for wave in changed] == pytest.approx([1000, 1250, 2400], rel=0.01)
    assert changed[1:].std(1) == pytest.approx(tones[1:].std(1), rel=0.1)
    song = tones[:1] * (t < 0.4)
    faster = change_pitch_and_speed(song, torch.ones(1), torch.tensor([0.5]))[0]
    assert peak_hz(faster) == pytest.approx(1000, rel=0.01)
    assert faster[: round(0.7 * RATE_HZ)].abs().mean() > 0.5, "a note lasts twice as long"
    assert faster[round(0.9 * RATE_HZ) :].abs().mean() < 0.05
    short = torch.ones(1, 3)
    assert change_pitch_and_speed(short, torch.ones(1) * 2, torch.ones(1)).shape == short.shape
