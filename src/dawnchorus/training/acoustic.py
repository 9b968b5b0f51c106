"""95 acoustic features of a clip, computed by a PyTorch module as librosa defines them.

Frames have 2,048 samples with a hop of 512, centered, and padded with zeros (for zero crossings with the edge's
sample). Other settings are the defaults of librosa 0.11. The mel spectrogram is in dB relative to its maximum. Chroma
is computed at concert pitch (librosa's `tuning=0`), so that a chroma feature means the same in all clips.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dawnchorus.audio.mel import mel_filters
from dawnchorus.training.spectrum import PowerSpectrum

RATE_HZ, N_FFT, N_HOP = 22_050, 2048, 512
N_MFCC, N_BANDS, N_CHROMA = 20, 128, 12
ROLLOFF = 0.85
TOP_DB = 80.0
N_BLOCK = 32
N_BINS = N_FFT // 2 + 1

FEATURES: tuple[str, ...] = (
    *(f"mfcc_{k + 1}_{stat}" for stat in ("mean", "std", "max", "min") for k in range(N_MFCC)),
    *(f"spectral_centroid_{stat}" for stat in ("mean", "std", "max")),
    *(f"spectral_rolloff_{stat}" for stat in ("mean", "std")),
    *(f"zero_crossing_rate_{stat}" for stat in ("mean", "std")),
    *(f"chroma_stft_{stat}" for stat in ("mean", "std")),
    *(f"mel_spectrogram_{stat}" for stat in ("mean", "std", "max")),
    *(f"spectral_bandwidth_{stat}" for stat in ("mean", "std")),
    "rms_mean",
)
"""Names of the features, in the order of the output."""

FLOORS: tuple[float, ...] = tuple(
    1e-2 if name.startswith(("mfcc", "mel")) else 1.0 if name.startswith("spectral") else 1e-6 for name in FEATURES
)
"""Standard deviation of each feature (in dB, Hz, or as a share) below which it counts as constant."""


def chroma_filters(*, rate_hz: int, n_fft: int, n_chroma: int = N_CHROMA) -> np.ndarray:
    """Return chroma filters [n_chroma, n_fft // 2 + 1] as float32, beginning with the pitch class C.

    Weights are Gaussians one semitone wide around the pitch of each frequency bin, and decrease away from octave 5
    (librosa's `filters.chroma`; after D. Ellis, 2007).
    """
    frequencies = np.linspace(0, rate_hz, n_fft, endpoint=False)[1:]
    pitch = n_chroma * np.log2(frequencies / (440.0 / 16))
    pitch = np.concatenate([[pitch[0] - 1.5 * n_chroma], pitch])
    width = np.concatenate([np.maximum(np.diff(pitch), 1.0), [1.0]])
    apart = pitch - np.arange(n_chroma)[:, None]
    half = round(n_chroma / 2)
    apart = np.remainder(apart + half + 10 * n_chroma, n_chroma) - half
    filters = np.exp(-0.5 * (2 * apart / width) ** 2)
    filters /= np.sqrt((filters**2).sum(axis=0, keepdims=True))
    filters *= np.exp(-0.5 * ((pitch / n_chroma - 5.0) / 2.0) ** 2)
    filters = np.roll(filters, -3 * (n_chroma // 12), axis=0)  # from A to C
    return np.array(filters[:, : n_fft // 2 + 1], np.float32)


def cosine_transform(n_mels: int, n_out: int) -> np.ndarray:
    """Return the orthonormal DCT-II matrix [n_mels, n_out] of the first `n_out` coefficients of `n_mels` bands."""
    k, n = np.arange(n_out), np.arange(n_mels)[:, None]
    matrix = np.sqrt(2 / n_mels) * np.cos(np.pi * (n + 0.5) * k / n_mels)
    matrix[:, 0] /= np.sqrt(2)
    return np.array(matrix, np.float32)


def _stats(values: Tensor, *names: str) -> Tensor:
    """Return the named statistics ("mean", "std", "max", "min") over the last axis of [batch, ..., frames], joined."""
    mean = values.mean(-1, keepdim=True)
    stats = {
        "mean": lambda: mean,
        "std": lambda: _square(values - mean).mean(-1, keepdim=True).sqrt(),
        "max": lambda: values.amax(-1, keepdim=True),
        "min": lambda: values.amin(-1, keepdim=True),
    }
    return torch.cat([stats[name]().flatten(1) for name in names], dim=1)


def _map_stats(values: Tensor, *names: str) -> Tensor:
    """Return the named statistics over rows and frames of maps [batch, rows, frames], joined.

    Sums are computed row by row, because runtimes lose four digits, each differently, in a sum of 50,000 numbers.
    """
    mean = values.mean(2, keepdim=True).mean(1, keepdim=True)
    stats = {
        "mean": lambda: mean,
        "std": lambda: _square(values - mean).mean(2, keepdim=True).mean(1, keepdim=True).sqrt(),
        "max": lambda: values.amax((1, 2), keepdim=True),
    }
    return torch.cat([stats[name]().flatten(1) for name in names], dim=1)


def _square(values: Tensor) -> Tensor:
    return values * values


def _sum_rows(values: Tensor) -> Tensor:
    """Sum [batch, rows, frames] to [batch, 1, frames] as a product, which runtimes compute much faster than a sum."""
    return torch.ones(1, values.shape[1], dtype=values.dtype, device=values.device) @ values


class AcousticFeatures(nn.Module):
    """Module that computes features [batch, 95] of waveforms [batch, samples] at `RATE_HZ` (22,050 Hz).

    `FEATURES` has the names of the 95 features.

    Args:
        window_samples: number of samples of a waveform.
    """

    mel: Tensor
    """Mel filters [128 bands, FFT bins]."""
    cosine: Tensor
    """Cosine transform [20 coefficients, 128 bands], for MFCCs."""
    chroma: Tensor
    """Chroma filters [12 pitch classes, FFT bins]."""
    frequencies: Tensor
    """Frequencies of the FFT bins in Hz [bins, 1]."""
    below: Tensor
    """Lower triangular matrix of ones [32, 32], for cumulative sums over blocks of FFT bins."""

    def __init__(self, *, window_samples: int) -> None:
        super().__init__()
        self.spectrum = PowerSpectrum(window_samples=window_samples, n_fft=N_FFT, hop_length=N_HOP)
        mel = mel_filters(rate_hz=RATE_HZ, n_fft=N_FFT, n_mels=N_BANDS, low_hz=0.0, high_hz=RATE_HZ / 2)
        for name, values in (
            ("mel", mel),
            ("cosine", cosine_transform(N_BANDS, N_MFCC).T),
            ("chroma", chroma_filters(rate_hz=RATE_HZ, n_fft=N_FFT)),
            ("frequencies", np.linspace(0, RATE_HZ / 2, N_FFT // 2 + 1)[:, None]),
            ("below", np.tri(N_BLOCK)),
        ):
            self.register_buffer(
                name, torch.tensor(np.ascontiguousarray(values), dtype=torch.float32), persistent=False
            )

    def forward(self, waveform: Tensor) -> Tensor:
        power = self.spectrum(waveform)
        magnitude = power.sqrt()
        mel = self.mel @ power
        levels = self._levels(mel)
        centroid, bandwidth = self._centroid(magnitude)
        return torch.cat(
            [
                _stats(self.cosine @ levels, "mean", "std", "max", "min"),
                _stats(centroid, "mean", "std", "max"),
                _stats(self._rolloff(magnitude), "mean", "std"),
                _stats(self._zero_crossings(waveform), "mean", "std"),
                _map_stats(self._chroma(power), "mean", "std"),
                _map_stats(levels - levels.amax((1, 2), keepdim=True), "mean", "std", "max"),
                _stats(bandwidth, "mean", "std"),
                _stats(self._rms(waveform), "mean"),
            ],
            dim=1,
        )

    def _levels(self, mel: Tensor) -> Tensor:
        """Return levels in dB [batch, bands, frames], limited to `TOP_DB` below the clip's maximum."""
        levels = 10 * torch.log10(mel.clamp(min=1e-10))
        return torch.maximum(levels, levels.amax((1, 2), keepdim=True) - TOP_DB)

    def _centroid(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        total = _sum_rows(magnitude)
        total = torch.where(total < 1e-30, torch.ones_like(total), total)  # a frame of zeros stays one, as in librosa
        centroid = self.frequencies.T @ magnitude / total
        apart = self.frequencies - centroid
        bandwidth = (_sum_rows(magnitude * _square(apart)) / total).sqrt()
        return centroid[:, 0], bandwidth[:, 0]

    def _rolloff(self, magnitude: Tensor) -> Tensor:
        """Return the lowest frequency below which a frame has 85 % of its magnitude.

        Cumulative sums are computed in blocks of bins, which is faster than one sum over all bins.
        """
        blocks = nn.functional.pad(magnitude, (0, 0, 0, -N_BINS % N_BLOCK))
        within = self.below @ blocks.reshape(-1, -(-N_BINS // N_BLOCK), N_BLOCK, self.spectrum.n_frames)
        before = within[:, :, -1].cumsum(1)
        so_far = within[:, 1:] + before[:, :-1, None]
        threshold = ROLLOFF * before[:, -1:]
        is_below = [
            within[:, 0] < threshold,
            (so_far < threshold[:, :, None]).reshape(magnitude.shape[0], -1, self.spectrum.n_frames),
        ]
        n_below = sum(_sum_rows(mask.to(magnitude.dtype)) for mask in is_below)
        return n_below[:, 0] * (RATE_HZ / N_FFT)  # type: ignore[index]

    def _chroma(self, power: Tensor) -> Tensor:
        raw = self.chroma @ power
        largest = raw.amax(1, keepdim=True)
        return raw / torch.where(largest < 1e-30, torch.ones_like(largest), largest)

    def _chunk_sums(self, values: Tensor, n_frames: int) -> Tensor:
        """Return sums [batch, frames] over frames of N_FFT samples every N_HOP, from padded values [batch, samples]."""
        n_chunks = n_frames + N_FFT // N_HOP - 1
        chunks = values[:, : n_chunks * N_HOP].reshape(-1, n_chunks, N_HOP).sum(2)
        return sum(chunks[:, k : k + n_frames] for k in range(N_FFT // N_HOP))  # type: ignore[return-value]

    def _rms(self, waveform: Tensor) -> Tensor:
        padded = nn.functional.pad(_square(waveform), (N_FFT // 2, max(self.spectrum.n_end, N_HOP)))
        return (self._chunk_sums(padded, self.spectrum.n_frames) / N_FFT).sqrt()

    def _zero_crossings(self, waveform: Tensor) -> Tensor:
        """Return the share of a frame's samples whose sign differs from the sample before, in the same frame."""
        n_frames = self.spectrum.n_frames
        is_negative = (waveform < -1e-10).to(waveform.dtype)
        crosses = (is_negative[:, 1:] - is_negative[:, :-1]).abs()
        # crosses[k] is between samples k and k + 1; the padding repeats the edge, which never crosses.
        padded = nn.functional.pad(crosses, (N_FFT // 2 + 1, max(self.spectrum.n_end, N_HOP)))
        sums = self._chunk_sums(padded, n_frames)
        firsts = padded[:, : n_frames * N_HOP].reshape(-1, n_frames, N_HOP)[:, :, 0]
        return (sums - firsts) / N_FFT
