"""The 95 features are librosa's, and the spectra under them are exact."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from tests.fixtures.sounds import tone

from dawnchorus.audio.mel import mel_filters
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus
from dawnchorus.training.acoustic import FEATURES, RATE_HZ, AcousticFeatures

TOLERANCE = 1e-3
"""Largest difference, relative to the feature's size (or to 1 where it is smaller)."""


def load_librosa() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import librosa
    return librosa


def librosas(y: np.ndarray) -> np.ndarray:
    """Return the same features by librosa, one call after the other."""
    librosa = load_librosa()
    f = librosa.feature
    m = f.mfcc(y=y, sr=RATE_HZ, n_mfcc=20)
    c, r = f.spectral_centroid(y=y, sr=RATE_HZ), f.spectral_rolloff(y=y, sr=RATE_HZ)
    z, ch = f.zero_crossing_rate(y), f.chroma_stft(y=y, sr=RATE_HZ, tuning=0.0)
    s = librosa.power_to_db(f.melspectrogram(y=y, sr=RATE_HZ), ref=np.max)
    b, rms = f.spectral_bandwidth(y=y, sr=RATE_HZ), f.rms(y=y)
    several = [c.mean(), c.std(), c.max(), r.mean(), r.std(), z.mean(), z.std(), ch.mean(), ch.std()]
    several += [s.mean(), s.std(), s.max(), b.mean(), b.std(), rms.mean()]
    return np.concatenate([m.mean(1), m.std(1), m.max(1), m.min(1), several])


def test_there_are_95_names_and_they_are_these() -> None:
    assert len(FEATURES) == len(set(FEATURES)) == 95
    assert FEATURES[:2] == ("mfcc_1_mean", "mfcc_2_mean")
    assert FEATURES[79:83] == (
        "mfcc_20_min",
        "spectral_centroid_mean",
        "spectral_centroid_std",
        "spectral_centroid_max",
    )
    assert FEATURES[-1] == "rms_mean"


@pytest.mark.ops
@pytest.mark.parametrize("kind", ["birds", "tone", "noise", "half silent", "silence"])
def test_features_are_librosas(kind: str) -> None:
    rng = np.random.default_rng(1)
    birds = load_librosa().resample(dawn_chorus(seed=4).samples, orig_sr=48_000, target_sr=RATE_HZ)[: 3 * RATE_HZ]
    y = {
        "birds": birds,
        "tone": tone(3000, seconds=3, rate_hz=RATE_HZ),
        "noise": rng.normal(0, 0.1, 3 * RATE_HZ).astype(np.float32),
        "half silent": np.where(np.arange(3 * RATE_HZ) < RATE_HZ, 0, birds).astype(np.float32),
        "silence": np.zeros(3 * RATE_HZ, np.float32),
    }[kind]
    features = AcousticFeatures(window_samples=len(y))(torch.from_numpy(y)[None])[0].numpy()
    expected = librosas(y)
    off = np.abs(features - expected) / np.maximum(np.abs(expected), 1)
    worst = {FEATURES[k]: float(off[k]) for k in np.argsort(-off)[:3]}
    # Of a pure tone, the far bins hold nothing but rounding, and bandwidth weighs them by their squared distance.
    assert off.max() < (10 * TOLERANCE if kind == "tone" else TOLERANCE), worst


GOLDEN = {
    "mfcc_1_mean": -242.586, "mfcc_2_mean": -8.58942, "mfcc_1_std": 8.58086, "mfcc_13_max": 17.1499,
    "mfcc_20_min": -16.7398, "spectral_centroid_mean": 4434.42, "spectral_centroid_std": 659.429,
    "spectral_centroid_max": 5715.94, "spectral_rolloff_mean": 7435.02, "spectral_rolloff_std": 1426.97,
    "zero_crossing_rate_mean": 0.30494, "zero_crossing_rate_std": 0.0843673, "chroma_stft_mean": 0.19597,
    "chroma_stft_std": 0.333939, "mel_spectrogram_mean": -46.6258, "mel_spectrogram_std": 5.59828,
    "mel_spectrogram_max": 0.0, "spectral_bandwidth_mean": 2566.78, "spectral_bandwidth_std": 438.545,
    "rms_mean": 0.106882,
}  # fmt: skip
"""Features of a rising tone in noise by librosa 0.11 (see `librosas`)."""


def test_features_have_librosas_values() -> None:
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    noise = 0.01 * np.random.default_rng(1).normal(size=len(time))
    y = (0.3 * np.sin(2 * np.pi * (1500 + 800 * time) * time) * np.hanning(len(time)) + noise).astype(np.float32)
    values = AcousticFeatures(window_samples=len(y))(torch.from_numpy(y)[None])[0].tolist()
    values_by_name = dict(zip(FEATURES, values, strict=True))
    assert {name: values_by_name[name] for name in GOLDEN} == pytest.approx(GOLDEN, rel=TOLERANCE)


@pytest.mark.ops
def test_mel_filters_are_librosas() -> None:
    librosa = load_librosa()
    for rate_hz, n_fft, n_mels, low, high in ((22_050, 2048, 128, 0, 11_025), (32_000, 1024, 64, 150, 15_000)):
        own = mel_filters(rate_hz=rate_hz, n_fft=n_fft, n_mels=n_mels, low_hz=low, high_hz=high)
        theirs = librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=n_mels, fmin=low, fmax=high)
        np.testing.assert_allclose(own, theirs, atol=1e-7)
