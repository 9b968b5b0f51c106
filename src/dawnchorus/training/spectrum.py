"""Power spectra as a network module, computed with operators that every ONNX runtime supports."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


class PowerSpectrum(nn.Module):
    """Module from waveforms [batch, samples] to power spectra [batch, n_fft // 2 + 1, frames] (Hann windows).

    Frames are centered on multiples of hop_length, with zeros around the ends.

    A Fourier transform of a * b points consists of b transforms of a points, multiplied by phase factors, and
    transforms of b points over the results (Cooley and Tukey, 1965). If b divides the hop, the former are a convolution
    of the waveform's b phases, which includes the Hann window and the phase factors; the latter are one matrix product.

    Args:
        window_samples: number of samples of a waveform.
        n_fft: number of samples of a frame.
        hop_length: number of samples between frames.

    Attributes:
        n_frames: number of frames, 1 + window_samples // hop_length.
        n_end: number of zeros after the waveform's end.
    """

    first: Tensor
    """Filters [2 * b * (a // 2 + 1), 1, a] of the convolution, real and imaginary parts."""
    second: Tensor
    """Matrix [2 * b, 2 * b] of the transforms of b points, on real and imaginary parts."""
    order: Tensor
    """Index [n_fft // 2 + 1] of each frequency bin in the result of the matrix product."""

    def __init__(self, *, window_samples: int, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.b = b = _phases(n_fft, hop_length)
        self.a = a = n_fft // b
        self.hop_length = hop_length
        self.n_frames = 1 + window_samples // hop_length
        self.n_pad = n_fft // 2
        self.n_used = -(-((self.n_frames - 1) * hop_length + n_fft) // b) * b
        self.n_end = max(self.n_used - window_samples - self.n_pad, 0)
        self.n_half = a // 2 + 1  # of a real signal the other half is a mirror image

        sample = np.arange(b)[:, None] + b * np.arange(a)  # [phase, position]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * sample / n_fft)
        first = hann[:, None] * _unit_phasors(np.arange(self.n_half)[:, None] * sample[:, None] / n_fft)
        second = _unit_phasors(np.outer(np.arange(b), np.arange(b)) / b)
        rows = [np.stack([second.real, -second.imag], axis=2), np.stack([second.imag, second.real], axis=2)]
        self._keep("first", np.stack([first.real, first.imag], axis=1).reshape(-1, 1, a))
        self._keep("second", np.stack(rows).reshape(2 * b, 2 * b))
        bins = np.arange(n_fft // 2 + 1)
        is_mirrored = bins % a >= self.n_half
        bins = np.where(is_mirrored, n_fft - bins, bins)
        self.register_buffer("order", torch.tensor(bins // a * self.n_half + bins % a), persistent=False)

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        # Sizes are constants, so that the exported graph computes sound and not shapes.
        padded = nn.functional.pad(waveform, (self.n_pad, self.n_end))[:, : self.n_used]
        phases = padded.reshape(-1, self.n_used // self.b, self.b).transpose(1, 2)
        turned = nn.functional.conv1d(phases, self.first, stride=self.hop_length // self.b, groups=self.b)
        spectrum = self.second @ turned.reshape(-1, 2 * self.b, self.n_half * self.n_frames)
        squares = (spectrum * spectrum).reshape(-1, 2, self.b * self.n_half, self.n_frames)
        power = squares[:, 0] + squares[:, 1]
        return power[:, self.order]


def _phases(n_fft: int, hop_length: int) -> int:
    """Return the common divisor b of FFT length and hop with the fewest operations."""
    shared = math.gcd(n_fft, hop_length)
    return min((b for b in range(1, shared + 1) if shared % b == 0), key=lambda b: abs(n_fft / b - 2 * b))


def _unit_phasors(share: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
    """Return exp(-2 pi i x) for fractions x of a full turn."""
    return np.asarray(np.exp(-2j * np.pi * share))
