"""Heads on the embeddings of a model."""

from __future__ import annotations

import pytest
import torch
from tests.fixtures.training import Train

from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.runner import open_session


def test_the_mean_alone_of_several_windows_is_what_a_bundle_gives(run_training: Train, band_bundle: Bundle) -> None:
    run = run_training(
        "model=embedding_head", "model.n_frames=3", "model.pool=mean", "model.hidden=[8,4]", "trainer.epochs=1"
    )
    bundle = read_bundle(run.bundle)
    assert bundle.info.embedding_dim == band_bundle.info.embedding_dim
    wave = torch.randn(2, bundle.window_samples, generator=torch.Generator().manual_seed(1)).numpy() * 0.1
    n = band_bundle.window_samples
    starts = [0, round((bundle.window_samples - n) / 2), bundle.window_samples - n]
    session = open_session(band_bundle)
    each = [session.run(wave[:, start : start + n].copy(), embeddings=True).embeddings for start in starts]
    mean = sum(part for part in each if part is not None) / 3
    assert open_session(bundle).run(wave, embeddings=True).embeddings == pytest.approx(mean, abs=1e-4)
