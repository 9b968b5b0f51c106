"""Spectra inside a network, out of operators that every runtime has and runs fast: slices and matrix products."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


class Frames(nn.Module):
    """Overlapping frames [batch, frames, n_fft] of waveforms [batch, samples], each centred on a multiple of n_hop."""

    index: Tensor

    def __init__(self, *, n_window: int, n_fft: int, n_hop: int) -> None:
        super().__init__()
        self.n_pad = n_fft // 2
        self.n_frames = 1 + n_window // n_hop
        self.n_chunk = math.gcd(n_fft, n_hop)
        needed = (self.n_frames - 1) * n_hop + n_fft
        self.n_end = max(needed - n_window - self.n_pad, 0)
        self.n_used = needed
        first = torch.arange(self.n_frames)[:, None] * (n_hop // self.n_chunk)
        self.register_buffer("index", (first + torch.arange(n_fft // self.n_chunk)).reshape(-1), persistent=False)
        self.n_fft = n_fft

    def forward(self, waveform: Tensor) -> Tensor:
        padded = nn.functional.pad(waveform, (self.n_pad, self.n_end))[:, : self.n_used]
        chunks = padded.reshape(-1, self.n_used // self.n_chunk, self.n_chunk)
        return chunks[:, self.index].reshape(-1, self.n_frames, self.n_fft)


def _factors(n: int) -> tuple[int, int]:
    """The two factors of n that are nearest to each other, the smaller first."""
    a = next(k for k in range(math.isqrt(n), 0, -1) if n % k == 0)
    return a, n // a


class Fourier(nn.Module):
    """Real and imaginary part [..., n_fft / 2 + 1] of the discrete Fourier transform of real frames [..., n_fft].

    The transform of a * b points is one of a points, a rotation, and one of b points (Cooley and Tukey, 1965): two
    small matrix products instead of one large one, some twenty times less work, and less rounding.
    """

    first: Tensor
    rotation_re: Tensor
    rotation_im: Tensor
    second_re: Tensor
    second_im: Tensor

    def __init__(self, n_fft: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.a, self.b = a, b = _factors(n_fft)
        self.n_second = b // 2 + 1

        def turns(rows: int, columns: int, period: int) -> np.ndarray:
            return np.asarray(np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(columns)) / period))

        first, rotation, second = turns(a, a, a), turns(b, a, n_fft), turns(b, self.n_second, b)
        for name, values in (
            ("first", np.concatenate([first.real, first.imag], axis=1)),
            ("rotation_re", rotation.real),
            ("rotation_im", rotation.imag),
            ("second_re", second.real),
            ("second_im", second.imag),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        shape = frames.shape[1:-1]
        x = frames.reshape(-1, self.a, self.b).transpose(1, 2) @ self.first  # [n, b, 2a]
        re, im = x[..., : self.a], x[..., self.a :]
        turned_re = (re * self.rotation_re - im * self.rotation_im).transpose(1, 2)  # [n, a, b]
        turned_im = (re * self.rotation_im + im * self.rotation_re).transpose(1, 2)
        out_re = turned_re @ self.second_re - turned_im @ self.second_im  # [n, a, b / 2 + 1]
        out_im = turned_re @ self.second_im + turned_im @ self.second_re
        return self._ordered(out_re, shape), self._ordered(out_im, shape)

    def _ordered(self, x: Tensor, shape: torch.Size) -> Tensor:
        """Bins in rising order."""
        rows = x.transpose(1, 2).reshape(-1, *shape, self.a * self.n_second)
        return rows[..., : self.n_fft // 2 + 1]


class PowerSpectrum(nn.Module):
    """Power [batch, frames, bins] of waveforms [batch, samples] in Hann windows; zeros around the ends."""

    window: Tensor

    def __init__(self, *, n_window: int, n_fft: int, n_hop: int) -> None:
        super().__init__()
        self.frames = Frames(n_window=n_window, n_fft=n_fft, n_hop=n_hop)
        self.fourier = Fourier(n_fft)
        self.register_buffer("window", torch.hann_window(n_fft, periodic=True), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        re, im = self.fourier(self.frames(waveform) * self.window)
        power: Tensor = re * re + im * im
        return power
