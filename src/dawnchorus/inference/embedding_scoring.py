"""Scores of a model from stored embeddings of its base model, without the audio."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from dawnchorus.arrays import Embeddings, Scores
from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.engines.registry import open_graph
from dawnchorus.models.graphs.embedding_classifier import cut_classifier
from dawnchorus.models.runner import apply_activation

BATCH_ROWS = 4_096
"""Number of embeddings in one call of the graph."""


class EmbeddingScorer:
    """Classifier that computes a bundle's scores from embeddings of its base model.

    Args:
        bundle: a head that was trained on the base's embeddings, or the base itself.
        dim: length of an embedding.
        n_threads: number of threads that compute in `run`.

    Raises:
        ModelError: the bundle has no ONNX graph, or its scores need more than embeddings, or embeddings of another
            length.
    """

    def __init__(self, bundle: Bundle, *, dim: int, n_threads: int) -> None:
        self._bundle = bundle
        with TemporaryDirectory(prefix="dawnchorus-") as folder:
            path = Path(folder) / "classifier.onnx"
            onnx.save(cut_classifier(bundle), path)
            self._graph = open_graph(path, n_threads=n_threads)
        (self._input,) = self._graph.inputs
        width = self._input.shape[-1]
        if width not in (dim, None):
            raise ModelError(f"expected embeddings of {width} numbers, got {dim}.", subject=bundle.folder)

    def run(self, embeddings: Embeddings) -> Scores:
        """Return the scores [n, classes], 0 to 1, of embeddings [n, dim].

        Raises:
            ModelError: the graph does not run on these embeddings, or its scores are not finite.
        """
        parts = [embeddings[k : k + BATCH_ROWS] for k in range(0, len(embeddings), BATCH_ROWS)]
        logits = [self._graph.run({self._input.name: part.astype(np.float32)}, ["logits"])[0] for part in parts]
        n_classes = len(self._bundle.labels)
        scores = apply_activation(
            np.concatenate([np.zeros((0, n_classes), np.float32), *logits]), self._bundle.info.activation
        )
        if scores.shape != (len(embeddings), n_classes):
            raise ModelError(
                f"expected scores of {n_classes} classes for each embedding, got the shape {scores.shape}.",
                subject=self._bundle.folder,
            )
        if not np.isfinite(scores).all():
            raise ModelError(
                "expected finite scores, got NaN or infinity. Export the model again, as in 32 bits, or use another.",
                subject=self._bundle.info.name,
            )
        return scores
