"""The way of docs/KERAS.md from a model of 95 features to a bundle."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.fixtures.commands import Command

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import read_bundle
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model
from dawnchorus.models.runner import open_session
from dawnchorus.taxonomy.labels import Label
from dawnchorus.training.acoustic import FEATURES, RATE_HZ, AcousticFeatures

PAGE = Path(__file__).parents[2] / "docs" / "KERAS.md"
WINDOW_S = 10


def scaled_model(path: Path) -> np.ndarray:
    """Write a softmax over two sums of the features, as tf2onnx would, and return its weights."""
    weights = np.random.default_rng(1).normal(0, 1e-4, (len(FEATURES), 2)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["features", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["Identity:0"])]
    axes = ["batch", len(FEATURES)], ["batch", 2]
    given, scores = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("features", "Identity:0"), axes, strict=True)
    )
    graph = helper.make_graph(nodes, "mlp", [given], [scores], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return weights


@pytest.mark.ops
def test_the_script_of_the_page_joins_features_and_model_to_one_bundle(tmp_path: Path, command: Command) -> None:
    weights = scaled_model(tmp_path / "scaled_model.onnx")
    _, script = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (tmp_path / "labels.txt").write_text("Andean Guan\nAndean Tinamou\n", "utf-8")
    (line,) = re.findall(r"dawnchorus (models wrap .*)", PAGE.read_text("utf-8"))
    arguments = [tmp_path / word if "." in word or word == "dashboard-model" else word for word in line.split()]
    wrapped = command(*arguments)
    assert wrapped.returncode == 0, wrapped.stderr
    audio = np.random.default_rng(2).normal(0, 0.1, (2, WINDOW_S * RATE_HZ)).astype(np.float32)
    features = AcousticFeatures(window_samples=audio.shape[1])(torch.from_numpy(audio)).numpy()
    expected = np.exp(features @ weights)
    expected /= expected.sum(1, keepdims=True)
    scores = open_session(read_bundle(tmp_path / "dashboard-model")).run(audio).logits
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    soundfile.write(tmp_path / "bird.wav", audio[0], RATE_HZ)
    detected = command("identify", tmp_path / "bird.wav", "--model", tmp_path / "dashboard-model", "--json", "-q")
    assert detected.returncode == 0, detected.stderr
    assert b"Andean" in detected.stdout


@pytest.mark.parametrize("name", ["final_model.h5", "MODEL.KERAS"])
def test_a_keras_file_is_refused_with_the_way_to_onnx(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF\r\n")
    metadata = ModelDescription(
        name="x", version="1", sample_rate_hz=RATE_HZ, window_s=WINDOW_S, activation="identity", license="CC0-1.0"
    )
    with pytest.raises(InputError, match=r"tf2onnx.*scaler.*label encoder.*--labels.*docs/KERAS.md"):
        wrap_model(tmp_path / name, tmp_path / "bundle", labels=[Label("A a", "A")], description=metadata)
