"""Augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.fixtures.training import SMALL, Train

from dawnchorus.training.augment import Augment
from dawnchorus.training.config import AugmentConfig

RATE_HZ = 22_050


def peak_hz(wave: torch.Tensor) -> float:
    """Return the strongest frequency of the middle of a waveform [samples]."""
    middle = wave[len(wave) // 4 : -len(wave) // 4]
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle))).abs()
    return float(spectrum.argmax()) * RATE_HZ / len(middle)


def test_pitch_and_stretch_are_drawn_for_each_clip_and_again_the_same() -> None:
    tones = torch.sin(2 * torch.pi * 2000 * torch.arange(RATE_HZ) / RATE_HZ).repeat(5, 1)
    augment = Augment(AugmentConfig(pitch_shift=2.0, time_stretch=0.2))
    first, again = (augment.augment_audio(tones, torch.eye(5), torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(first, again)
    cut_off_hz = [peak_hz(wave) for wave in first]
    assert len({round(hz) for hz in cut_off_hz}) > 3
    assert min(cut_off_hz) > 2000 * 2 ** (-2.1 / 12)
    assert max(cut_off_hz) < 2000 * 2 ** (2.1 / 12)


@pytest.mark.ops
def test_features_are_computed_anew_where_pitch_changes(run_training: Train) -> None:
    plain, shifted = (
        run_training(*SMALL, "trainer.epochs=1", f"augment.pitch_shift={semitones}") for semitones in (0, 3)
    )
    assert plain.metrics["loss"] != shifted.metrics["loss"]


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_augmentation_does_what_it_says() -> None:
    audio = torch.randn(6, 8000, generator=rng()) * 0.1
    targets = torch.eye(6)

    def changed(**options: object) -> tuple[torch.Tensor, torch.Tensor]:
        return Augment(AugmentConfig(**options), backgrounds=torch.ones(2, 8000)).augment_audio(audio, targets, rng())  # type: ignore[arg-type]

    same, same_targets = changed()
    assert torch.equal(same, audio)
    assert torch.equal(same_targets, targets)
    louder, _ = changed(gain_db=6.0)
    gains_db = 20 * torch.log10(louder.std(1) / audio.std(1))
    assert gains_db.abs().max() <= 6.01
    assert gains_db.std() > 1
    shifted, _ = changed(time_roll=1.0)
    assert torch.equal(shifted.sort(1).values, audio.sort(1).values)
    assert not torch.equal(shifted, audio)
    noisy, _ = changed(noise_p=1.0, noise_snr_db=(10.0, 10.0))
    snr_db = 20 * torch.log10(audio.std(1) / (noisy - audio).std(1))
    assert snr_db.numpy() == pytest.approx(np.full(6, 10), abs=0.3)
    laid, _ = changed(background_p=1.0, background_snr_db=(0.0, 0.0))
    assert (laid - audio).std(1).max() < 1e-3, "the background is constant"
    mixed, shares = changed(mixup_p=1.0)
    assert shares.sum(1).numpy() == pytest.approx(np.ones(6), abs=1e-5)
    assert (shares.max(1).values >= 0.5).all()
    k = int(shares.max(1).values.argmin())
    own, other = int(shares[k].argmax()), int(shares[k].argsort()[-2])
    alike = audio[other] * audio[own].std() / audio[other].std()
    expected = shares[k, own].sqrt() * audio[own] + shares[k, other].sqrt() * alike
    assert torch.allclose(mixed[k], expected, atol=0.02), "energies are in the shares, however loud each was"
    _, both = changed(mixup_p=1.0, mixup_target="both")
    assert set(both.unique().tolist()) == {0.0, 1.0}
    tilted, _ = changed(tilt_db=12.0)
    assert not torch.allclose(tilted, audio)
    assert tilted.shape == audio.shape


def test_masks_hide_and_bands_move() -> None:
    spectrogram = torch.arange(40.0).reshape(1, 1, 40, 1).expand(4, 1, 40, 100).clone()
    masked = Augment(AugmentConfig(time_masks=2, freq_masks=1, n_cutouts=1)).augment_spectrogram(spectrogram, rng())
    hidden = masked != spectrogram
    assert 0 < hidden.float().mean() < 0.6
    assert torch.allclose(masked[hidden], torch.full_like(masked[hidden], 19.5)), "behind the mean"
    moved = Augment(AugmentConfig(freq_shift=3)).augment_spectrogram(spectrogram, rng())
    steps = (moved - spectrogram)[:, 0, 20, 0]
    assert steps.abs().max() <= 3
    assert len(steps.unique()) > 1
