"""Independent changes of pitch and speed by a phase vocoder (Flanagan and Golden, 1966) and resampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

N_FFT, N_HOP = 1024, 256
OVERSAMPLING = 4
"""Oversampling factor before linear interpolation, with which the highest frequencies lose less than 0.5 dB."""


def change_pitch_and_speed(waveform: Tensor, pitch: Tensor, speed: Tensor) -> Tensor:
    """Scale the pitch and speed of waveforms [batch, samples] by the factors `pitch` [batch] and `speed` [batch].

    A pitch of 2 is an octave higher, and a speed of 2 is twice as fast. The number of samples stays the same: a
    waveform that becomes shorter is repeated, and one that becomes longer is cut.
    """
    n = waveform.shape[1]
    n_needed = math.ceil(n * float(pitch.max())) + 1
    return _resample(_stretch(waveform, speed / pitch, n_needed), pitch)[:, :n]


def _stretch(waveform: Tensor, rate: Tensor, n_out: int) -> Tensor:
    """Change the speed of waveforms [batch, samples] by `rate` [batch] at the same pitch, to `n_out` samples."""
    window = torch.hann_window(N_FFT, device=waveform.device)
    spectrum = torch.stft(waveform, N_FFT, N_HOP, window=window, pad_mode="constant", return_complex=True)
    n_batch, n_bins, n_frames = spectrum.shape
    n_frames_out = n_out // N_HOP + 1
    position = (torch.arange(n_frames_out, device=waveform.device) * rate[:, None]) % n_frames
    left = position.long()[:, None, :].expand(n_batch, n_bins, n_frames_out)
    right = (left + 1).clamp(max=n_frames - 1)
    share = (position % 1)[:, None, :]
    magnitude, phase = spectrum.abs(), spectrum.angle()
    magnitude = (1 - share) * magnitude.gather(2, left) + share * magnitude.gather(2, right)
    # Modulo whole turns, so that the sum of many stays precise.
    steps = (phase.gather(2, right) - phase.gather(2, left))[:, :, :-1] % (2 * math.pi)
    phase = phase[:, :, :1] + torch.nn.functional.pad(steps.cumsum(2), (1, 0))
    stretched: Tensor = torch.istft(torch.polar(magnitude, phase), N_FFT, N_HOP, window=window, length=n_out)
    return stretched


def _resample(waveform: Tensor, pitch: Tensor) -> Tensor:
    """Resample waveforms [batch, samples] by the factor `pitch` [batch], after removing what would alias."""
    n = waveform.shape[1]
    spectrum = torch.fft.rfft(waveform)
    frequency = torch.linspace(0, 1, spectrum.shape[1], device=waveform.device)
    spectrum = spectrum * (frequency * pitch[:, None] <= 1)
    dense = torch.fft.irfft(spectrum, n=OVERSAMPLING * n) * OVERSAMPLING
    position = torch.arange(n, device=waveform.device, dtype=torch.float64) * OVERSAMPLING * pitch[:, None].double()
    position = position.clamp(max=OVERSAMPLING * n - 1)
    left = position.long()
    share = (position - left).to(waveform.dtype)
    right = (left + 1).clamp(max=OVERSAMPLING * n - 1)
    resampled: Tensor = (1 - share) * dense.gather(1, left) + share * dense.gather(1, right)
    return resampled
