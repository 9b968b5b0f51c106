"""Heads on the embeddings of a model."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from tests.fixtures.heads import write_head
from tests.fixtures.networks import build
from tests.fixtures.training import Train

from dawnchorus.inference.embedding_scoring import EmbeddingScorer
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.models.store import ModelStore


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


def test_an_exported_head_scores_kept_embeddings(band_bundle: Bundle, store: ModelStore, tmp_path: Path) -> None:
    network = build(store, "model=embedding_head", f"model.backbone={band_bundle.folder}", "model.hidden=8").eval()
    head = write_head(band_bundle, tmp_path / "head")
    onnx.save(network.export(window_samples=band_bundle.window_samples), head.graph_path)
    wave = torch.randn(4, band_bundle.window_samples, generator=torch.Generator().manual_seed(1)).numpy() * 0.1
    embeddings = open_session(band_bundle).run(wave, embeddings=True).embeddings
    assert embeddings is not None
    expected = apply_activation(open_session(head).run(wave).logits, "sigmoid")
    assert EmbeddingScorer(head, dim=12, n_threads=1).run(embeddings) == pytest.approx(expected, abs=1e-5)
