"""Data augmentation of waveforms and spectrograms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dawnchorus.training.config import AugmentConfig
from dawnchorus.training.losses import IGNORED
from dawnchorus.training.vocoder import change_pitch_and_speed


class Augment:
    """Data augmentation of batches; randomness comes from the generator passed to each call.

    Args:
        config: kinds and strengths of augmentation.
        backgrounds: waveforms [clips, samples] of sound without species, to mix into clips; None disables this.
    """

    def __init__(self, config: AugmentConfig, *, backgrounds: Tensor | None = None) -> None:
        self._config = config
        self._backgrounds = backgrounds

    def augment_audio(self, waveform: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return augmented waveforms [batch, samples] and their targets [batch, classes], which mixup changes.

        A target of a mixture is `IGNORED` (-1) if it is `IGNORED` in one of the two clips. `rng` is a generator on the
        CPU.
        """
        config = self._config
        if config.pitch_shift or config.time_stretch:
            pitch = 2 ** ((2 * _uniform(len(waveform), rng, waveform) - 1) * config.pitch_shift / 12)
            speed = (1 + config.time_stretch) ** (2 * _uniform(len(waveform), rng, waveform) - 1)
            waveform = change_pitch_and_speed(waveform, pitch, speed)
        if config.time_roll:
            waveform = _roll(waveform, config.time_roll, rng)
        if config.gain_db:
            gain_db = (2 * _uniform(len(waveform), rng, waveform) - 1) * config.gain_db
            waveform = waveform * 10 ** (gain_db / 20)[:, None]
        if config.tilt_db:
            waveform = _tilt(waveform, config.tilt_db, rng)
        if config.background_p and self._backgrounds is not None:
            chosen = torch.randint(len(self._backgrounds), (len(waveform),), generator=rng)
            under = _roll(self._backgrounds[chosen].to(waveform.device), 1.0, rng)
            waveform = _add_background(waveform, under, config.background_p, config.background_snr_db, rng)
        if config.noise_p:
            white = torch.randn(waveform.shape, generator=rng).to(waveform.device)
            waveform = _add_background(waveform, white, config.noise_p, config.noise_snr_db, rng)
        return self._mix_batch(waveform, targets, rng, mix=_mix_audio)

    def mix_features(self, values: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return features [batch, ...] and targets [batch, classes] after mixup (Zhang et al., 2018).

        Both are returned unchanged if `mixup_p` is 0; `IGNORED` targets are treated as in `augment_audio`.
        """
        return self._mix_batch(values, targets, rng, mix=lambda one, other, share: share * one + (1 - share) * other)

    def _mix_batch(
        self, values: Tensor, targets: Tensor, rng: torch.Generator, *, mix: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        config = self._config
        if not config.mixup_p:
            return values, targets
        other = torch.randperm(len(values), generator=rng).to(values.device)
        share = _beta(len(values), config.mixup_alpha, rng).to(values.device)
        share = torch.where(_uniform(len(values), rng, values) < config.mixup_p, share, torch.ones_like(share))
        is_ignored = (targets == IGNORED) | ((targets[other] == IGNORED) & (share < 1)[:, None])
        wide = share.reshape(-1, *(1,) * (values.ndim - 1))
        mixed = mix(values, values[other], wide)
        if config.mixup_target == "both":
            both = torch.where((share < 1)[:, None], torch.maximum(targets, targets[other]), targets)
            return mixed, both.masked_fill(is_ignored, IGNORED)
        shares = share[:, None] * targets + (1 - share[:, None]) * targets[other]
        return mixed, shares.masked_fill(is_ignored, IGNORED)

    def augment_spectrogram(self, levels: Tensor, rng: torch.Generator) -> Tensor:
        """Shift spectrograms [batch, 1, bands, columns] in frequency, and mask parts with the whole spectrogram's mean.

        A shift repeats the lowest or highest band in the bands that become free.
        Masks are stripes in time and frequency (Park et al., 2019), and rectangles (DeVries and Taylor, 2017).
        """
        config = self._config
        n_mels, n_columns = levels.shape[-2:]
        if config.freq_shift:
            by = torch.randint(-config.freq_shift, config.freq_shift + 1, (len(levels), 1), generator=rng)
            bands = (torch.arange(n_mels) - by).clamp(0, n_mels - 1).to(levels.device)
            levels = levels.gather(2, bands[:, None, :, None].expand_as(levels))
        hidden = torch.zeros(len(levels), n_mels, n_columns, dtype=torch.bool)
        for _ in range(config.time_masks):
            hidden |= _stripe(len(levels), n_columns, config.time_mask_share, rng)[:, None, :]
        for _ in range(config.freq_masks):
            hidden |= _stripe(len(levels), n_mels, config.freq_mask_share, rng)[:, :, None]
        for _ in range(config.n_cutouts):
            across = _stripe(len(levels), n_columns, config.cutout_share, rng)
            hidden |= _stripe(len(levels), n_mels, config.cutout_share, rng)[:, :, None] & across[:, None, :]
        if not hidden.any():
            return levels
        mean_level = levels.mean((1, 2, 3), keepdim=True)
        return torch.where(hidden[:, None].to(levels.device), mean_level, levels)


def _uniform(n: int, rng: torch.Generator, like: Tensor) -> Tensor:
    return torch.rand(n, generator=rng).to(like.device)


def _beta(n: int, alpha: float, rng: torch.Generator) -> Tensor:
    """Return n random values x of the beta distribution with both parameters `alpha`, as max(x, 1 - x)."""
    numbers = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=rng)))
    share = torch.from_numpy(numbers.beta(alpha, alpha, n).astype(np.float32))
    return torch.maximum(share, 1 - share)


def _roll(waveform: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Shift each waveform circularly in time, by a random part of at most `share` of its length."""
    n = waveform.shape[1]
    by = (torch.rand(len(waveform), generator=rng) * share * n).long().to(waveform.device)
    return waveform.gather(1, (torch.arange(n, device=waveform.device) + by[:, None]) % n)


def _tilt(waveform: Tensor, tilt_db: float, rng: torch.Generator) -> Tensor:
    """Apply to each waveform a random gain slope in dB over frequency, of at most `tilt_db` from lowest to highest."""
    by_db = ((2 * torch.rand(len(waveform), generator=rng) - 1) * tilt_db).to(waveform.device)
    spectrum = torch.fft.rfft(waveform)
    frequency = torch.linspace(-0.5, 0.5, spectrum.shape[1], device=waveform.device)
    tilted: Tensor = torch.fft.irfft(spectrum * 10 ** (by_db[:, None] * frequency / 20), n=waveform.shape[1])
    return tilted


def _add_background(waveform: Tensor, under: Tensor, p: float, snr_db: Sequence[float], rng: torch.Generator) -> Tensor:
    low, high = snr_db
    wanted_db = low + (high - low) * _uniform(len(waveform), rng, waveform)
    own, other = ((x**2).mean(1).sqrt() for x in (waveform, under))
    gain = own / other.clamp(min=1e-9) * 10 ** (-wanted_db / 20)
    gain = torch.where(_uniform(len(waveform), rng, waveform) < p, gain, torch.zeros_like(gain))
    return waveform + gain[:, None] * under


def _mix_audio(waveform: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Mix waveforms at equal loudness, with `share` [batch, 1] of the energy from the first (Tokozume et al., 2018)."""
    own, others = ((x**2).mean(1, keepdim=True).sqrt() for x in (waveform, other))
    return share.sqrt() * waveform + (1 - share).sqrt() * other * (own / others.clamp(min=1e-9))


def _stripe(n: int, size: int, share: float, rng: torch.Generator) -> Tensor:
    """Return random masks [n, size], each True in one stripe of at most `share` of the length."""
    width = torch.rand(n, generator=rng) * share * size
    start = torch.rand(n, generator=rng) * (size - width)
    positions = torch.arange(size)
    return (positions >= start[:, None]) & (positions < (start + width)[:, None])
