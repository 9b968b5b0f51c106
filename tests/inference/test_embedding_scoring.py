"""Checks of a classifier of embeddings; its scores are in tests/models/graphs/test_embedding_classifier.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.heads import write_head

from dawnchorus.errors import ModelError
from dawnchorus.inference.embedding_scoring import EmbeddingScorer
from dawnchorus.models.bundle import Bundle


def test_embeddings_of_another_length_are_refused(band_bundle: Bundle, tmp_path: Path) -> None:
    head = write_head(band_bundle, tmp_path / "head")
    with pytest.raises(ModelError, match="expected embeddings of 12 numbers, got 13"):
        EmbeddingScorer(head, dim=13, n_threads=1)


def test_scores_that_are_no_numbers_are_refused(band_bundle: Bundle, tmp_path: Path) -> None:
    head = write_head(band_bundle, tmp_path / "head")
    with pytest.raises(ModelError, match="expected finite scores"):
        EmbeddingScorer(head, dim=12, n_threads=1).run(np.full((1, 12), np.nan, np.float32))
