"""Dense scores and embeddings: a row for each window, in order, from batches of any size."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.errors import InputError
from dawnchorus.inference.analyses.dense_scores import DenseScores
from dawnchorus.inference.analyses.embeddings import Embeddings
from dawnchorus.inference.analyses.windows import WindowBatch, WindowOutput

SCORES = np.arange(15, dtype=np.float32).reshape(5, 3) / 16


def batches(embeddings: np.ndarray | None = None) -> list[WindowBatch]:
    """Five windows in two batches."""
    output = WindowOutput(SCORES, embeddings)
    return [WindowBatch(a, np.zeros((b - a, 4), np.float32), output.rows(a, b)) for a, b in ((0, 3), (3, 5))]


def test_dense_scores_are_those_of_the_given_classes() -> None:
    analysis = DenseScores(np.array([2, 0]))
    signal, silent = analysis.create(), analysis.create()
    for batch in batches():
        signal.on_windows(batch)
    np.testing.assert_array_equal(signal.finish()["scores"], SCORES[:, [2, 0]])
    assert silent.finish()["scores"].shape == (0, 2)


def test_embeddings_are_rows_and_a_model_without_them_is_refused() -> None:
    embeddings = SCORES + 1
    signal, other = Embeddings().create(), Embeddings().create()
    assert len(other.finish()) == 0
    for batch in batches(embeddings):
        signal.on_windows(batch)
    np.testing.assert_array_equal(signal.finish()["embedding"], embeddings)
    with pytest.raises(InputError, match="the model has none"):
        other.on_windows(batches()[0])
