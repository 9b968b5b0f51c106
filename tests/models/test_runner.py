"""Scores of a session, whatever runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dawnchorus.models.runner import apply_activation


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "identity"])
def test_activations_give_scores(activation: str) -> None:
    logits = np.array([[-200.0, 0.0, 200.0]], np.float32)
    expected = {"sigmoid": [0, 0.5, 1], "softmax": [0, 0, 1], "identity": [-200, 0, 200]}[activation]
    np.testing.assert_allclose(apply_activation(logits, activation), [expected], atol=1e-6)  # type: ignore[arg-type]


def test_the_reference_engine_agrees_on_the_dawn_chorus(dawn: Path) -> None:
    """BirdNET as published, run by LiteRT, finds the same rows."""
    from dawnchorus.identification import Options, identify

    options = Options(min_score=0.1)
    (ours,) = identify(dawn, options).tables()
    (reference,) = identify(dawn, options, model="birdnet-litert").tables()
    assert [(d.start_s, d.scientific_name) for d in ours.detections] == [
        (d.start_s, d.scientific_name) for d in reference.detections
    ]
    np.testing.assert_allclose([d.score for d in ours.detections], [d.score for d in reference.detections], atol=1e-3)
