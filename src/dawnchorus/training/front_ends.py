"""Mel spectrograms as network modules, optionally with trainable filters."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dawnchorus.audio.mel import mel_filters
from dawnchorus.training.config import Config
from dawnchorus.training.spectrum import PowerSpectrum

FLOOR = 0.1

SMALLEST_VARIANCE = 1e-12
"""Constant added to variances, so that the gradient of the standard deviation is finite in silence."""

PCEN_WHITE = 4.0
"""PCEN level of clear calls, which is mapped to white (1) in an image."""


FIRST_S = 2.5
"""Seconds at the start of a clip whose mean energy initializes PCEN's smoothing filter."""


class MelConfig(Config):
    """Settings of a mel spectrogram."""

    n_fft: int = Field(default=1024, ge=64, le=16_384)
    """Number of samples of a frame, from which a column is computed."""
    hop_length: int = Field(default=320, ge=16)
    """Number of samples between columns; fast if it has a large common divisor with `n_fft`."""
    n_mels: int = Field(default=128, ge=8, le=512)
    """Number of mel bands."""
    low_hz: float = Field(default=50.0, ge=0)
    """Lower edge of the lowest band in Hz."""
    high_hz: float = Field(default=14_000.0, gt=0)
    """Upper edge of the highest band in Hz; limited to half the sample rate."""
    compression: Literal["log", "pcen"] = "log"
    """Compression of energies: "log", or "pcen": per-channel energy normalization, which reduces stationary background
    and differences in distance (Wang et al., ICASSP 2017; for birds Lostanlen et al., IEEE SPL 2019)."""
    pcen_s: float = Field(default=0.3, gt=0)
    """Time constant of PCEN's smoothing filter in seconds."""
    pcen_gain: float = Field(default=0.9, gt=0, le=1)
    """Exponent of the smoothed level that PCEN divides by: 1 removes differences of level completely."""
    normalize: Literal["clip", "band", "imagenet", "none"] = "clip"
    """"clip" or "band": mean 0 and standard deviation 1 over each clip, or over each band of each clip; "imagenet":
    PCEN's levels scaled to the range that ImageNet weights expect; "none": no normalization."""
    learn: bool = False
    """True to train the mel filters and PCEN's parameters with the network; False to keep them fixed."""


class MelFrontEnd(nn.Module):
    """Module from waveforms [batch, samples] to mel spectrograms [batch, 1, bands, columns].

    Args:
        config: settings of the spectrogram.
        rate_hz: sample rate of the waveforms.
        window_samples: number of samples of a waveform.
    """

    filters: Tensor
    """Mel filters [bands, n_fft // 2 + 1], whose weights initially sum to 1 in each band."""

    def __init__(self, config: MelConfig, *, rate_hz: int, window_samples: int) -> None:
        super().__init__()
        self.spectrum = PowerSpectrum(window_samples=window_samples, n_fft=config.n_fft, hop_length=config.hop_length)
        filters = mel_filters(
            rate_hz=rate_hz,
            n_fft=config.n_fft,
            n_mels=config.n_mels,
            low_hz=config.low_hz,
            high_hz=min(config.high_hz, rate_hz / 2),
        )
        # Made comparable: every band's filter adds up to 1, whatever its width.
        values = torch.tensor(filters / filters.sum(axis=1, keepdims=True))
        self.filters = nn.Parameter(values, requires_grad=config.learn)
        n_columns = self.spectrum.n_frames
        self.level: nn.Module = (
            _Pcen(config.n_mels, n_columns, columns_per_s=rate_hz / config.hop_length, config=config)
            if config.compression == "pcen"
            else _Log()
        )
        self.dims: tuple[int, ...] = {"clip": (1, 2), "band": (2,)}.get(config.normalize, ())
        self.is_image = config.normalize == "imagenet"

    def forward(self, waveform: Tensor) -> Tensor:
        bands = self.filters.clamp(min=0) @ self.spectrum(waveform)  # [batch, bands, columns]
        levels = self.level(bands)
        if self.dims:
            mean = _mean(levels, self.dims)
            deviation = (_mean((levels - mean) ** 2, self.dims) + SMALLEST_VARIANCE).sqrt()
            # The floor keeps silence, where all levels are equal but for rounding, from becoming noise at full scale.
            levels = (levels - mean) / (deviation + FLOOR)
        if self.is_image:
            levels = ((levels / PCEN_WHITE).clamp(0, 1.5) - 0.45) / 0.225
        image: Tensor = levels[:, None]
        return image


def _mean(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Average over several axes one by one, which is more exact in runtimes with naive summation."""
    for dim in dims:
        values = values.mean(dim, keepdim=True)
    return values


class _Log(nn.Module):
    def forward(self, bands: Tensor) -> Tensor:
        return torch.log(1 + 1e6 * bands)  # silence is exactly 0, in every runtime


class _Pcen(nn.Module):
    """Per-channel energy normalization: (E / (floor + M)^gain + bias)^power - bias^power, with M the smoothed E."""

    smoothing: Tensor

    def __init__(self, n_mels: int, n_columns: int, *, columns_per_s: float, config: MelConfig) -> None:
        super().__init__()
        step = 1 / (1 + config.pcen_s * columns_per_s)
        # M[t] = (1 - step) M[t-1] + step E[t] for all t at once: a product with a fixed matrix. Before the clip M is
        # the mean of the clip's first moments, because a single column may be anything.
        apart = torch.arange(n_columns)[None, :] - torch.arange(n_columns)[:, None]
        decay = torch.where(apart >= 0, step * (1 - step) ** apart.clamp(min=0), torch.zeros(()))
        n_first = min(round(FIRST_S * columns_per_s), n_columns)
        decay[:n_first] += (1 - step) ** (1 + torch.arange(n_columns)) / n_first
        self.register_buffer("smoothing", decay.float(), persistent=False)
        for name, value in (("gain", config.pcen_gain), ("bias", 2.0), ("power", 0.5)):
            start = torch.full((n_mels, 1), float(torch.tensor(value).log()))
            self.register_parameter(f"log_{name}", nn.Parameter(start, requires_grad=config.learn))

    def forward(self, bands: Tensor) -> Tensor:
        # The clip's usual energy becomes 1, so that the bias means the same for soft and loud recordings.
        logs = torch.log(bands + 1e-10)
        bands = torch.exp(logs - _mean(logs, (1, 2)))
        gain, bias, power = (getattr(self, f"log_{name}").exp() for name in ("gain", "bias", "power"))
        followed = bands @ self.smoothing
        # Quotients of powers as exponentials of differences of logarithms: no overflow for loud or silent bands.
        ratio = torch.exp(torch.log(bands + 1e-9) - gain * torch.log(followed + 1e-6))
        return torch.exp(power * torch.log(ratio + bias)) - torch.exp(power * torch.log(bias))
