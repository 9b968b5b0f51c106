"""The part of a graph behind a base's embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.heads import write_head

from dawnchorus.errors import ModelError
from dawnchorus.inference.embedding_scoring import EmbeddingScorer
from dawnchorus.inference.model import load_model
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.class_extension import extend_classes
from dawnchorus.models.graphs.embedding_classifier import base_id, cut_classifier


@pytest.mark.parametrize("kind", ["base", "head", "joined"])
def test_scores_of_embeddings_are_those_of_the_sound(kind: str, band_bundle: Bundle, tmp_path: Path) -> None:
    bundle = band_bundle
    if kind != "base":
        bundle = write_head(band_bundle, tmp_path / "head")
    if kind == "joined":
        bundle = extend_classes(band_bundle, bundle, tmp_path / "joined", name="joined")
    assert base_id(bundle) == band_bundle.id
    waveform = np.random.default_rng(0).normal(0, 0.1, 64_000).astype(np.float32)
    embeddings = load_model(band_bundle.folder).embed(waveform, 16_000)
    scorer = EmbeddingScorer(bundle, dim=12, n_threads=1)
    expected = load_model(bundle.folder).predict(waveform, 16_000)
    np.testing.assert_allclose(scorer.run(embeddings), expected, atol=1e-5)
    assert scorer.run(embeddings[:0]).shape == (0, len(bundle.labels))


def test_models_on_sound_are_refused(level_bundle: Bundle) -> None:
    with pytest.raises(ModelError, match="expected a model whose scores come from embeddings alone"):
        cut_classifier(level_bundle)
