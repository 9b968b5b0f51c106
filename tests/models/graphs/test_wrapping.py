"""Graphs of others wrapped into bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph

from dawnchorus.errors import (
    InputError,
    InvalidBundleError,
    ModelError,
    OutputExistsError,
)
from dawnchorus.models.bundle import Bundle, read_bundle, verify_bundle
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model
from dawnchorus.models.runner import open_session


def test_two_processes_may_make_the_same_bundle(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=16_000)
    for _ in range(2):
        wrap_model(graph, tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)
    assert {p.name for p in tmp_path.iterdir()} == {"bundle", "level.onnx"}


# ---------------------------------------------------------------------- models of others


def test_a_graph_that_takes_one_window_at_a_time(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "one.onnx", window_samples=16_000, batch=1)
    bundle = wrap_model(graph, tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)
    recordings = np.array([[0.1], [0.2], [0.3]], np.float32).repeat(16_000, axis=1)
    np.testing.assert_allclose(open_session(bundle).run(recordings).logits[:, 0], [0.1, 0.2, 0.3], atol=1e-4)


def test_a_graph_that_does_not_fit_is_refused_with_what_came(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=16_000)
    folder = tmp_path / "bundle"
    with pytest.raises(ModelError, match="expected an output of the size with 2 classes"):
        wrap_model(graph, folder, labels=LEVEL_LABELS[:2], description=LEVEL)
    longer = ModelDescription(**{**vars(LEVEL), "window_s": 3.0})
    with pytest.raises(ModelError, match="the graph takes 16000 samples, but window times sample rate is 48000"):
        wrap_model(graph, folder, labels=LEVEL_LABELS, description=longer)
    (tmp_path / "x.pt").write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"expected a file that ends in .onnx or .tflite"):
        wrap_model(tmp_path / "x.pt", folder, labels=LEVEL_LABELS, description=LEVEL)
    (tmp_path / "x.onnx").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="not a whole ONNX model: the file is a text that begins with .pickle"):
        wrap_model(tmp_path / "x.onnx", folder, labels=LEVEL_LABELS, description=LEVEL)
    assert not folder.exists()


def test_a_graph_whose_weights_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    """External data may name any file of the machine."""
    model = onnx.load(level_graph(tmp_path / "level.onnx", window_samples=16_000))
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 12)
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "secret"
    (tmp_path / "outside.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="its weights are in another file"):
        wrap_model(tmp_path / "outside.onnx", tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)


@pytest.mark.parametrize(("kind", "scores"), [("scores", "ratio"), ("embeddings", "mean")])
def test_a_model_that_gives_no_numbers_is_refused(tmp_path: Path, kind: str, scores: str) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["sound"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Div", ["mean", "mean"], ["ratio"]),  # silence: 0 / 0
        helper.make_node("Concat", [scores] * 3, ["scores"], axis=1),
        helper.make_node("Concat", ["ratio"] * 2, ["embeddings"], axis=1),
    ]
    sizes = {"scores": 3, "embeddings": 2}
    graph = helper.make_graph(
        nodes,
        "nan",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", 16_000])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in sizes.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "nan.onnx"
    )
    with pytest.raises(InvalidBundleError, match=f"On silence the model gave nan in its {kind}; expected "):
        wrap_model(tmp_path / "nan.onnx", tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)
    assert not (tmp_path / "bundle").exists()


def test_names_inside_the_graph_may_be_ours(tmp_path: Path) -> None:
    """A graph whose own values are called logits, waveform and embeddings: `level_graph` has such a `logits`."""
    bundle = wrap_model(
        level_graph(tmp_path / "x.onnx", window_samples=16_000), tmp_path / "b", labels=LEVEL_LABELS, description=LEVEL
    )
    assert open_session(bundle).run(np.ones((1, 16_000), np.float32)).logits.tolist() == [[1, 0, 0]]


def test_a_wrapped_graph_can_be_wrapped_again(tmp_path: Path, band_bundle: Bundle) -> None:
    metadata = replace(LEVEL, window_s=band_bundle.info.window_s, activation=band_bundle.info.activation)
    bundle = band_bundle
    windows = np.random.default_rng(1).normal(0, 0.1, (2, band_bundle.window_samples)).astype(np.float32)
    expected = open_session(band_bundle).run(windows, embeddings=True)
    for name in ("again", "once more"):
        bundle = wrap_model(bundle.graph_path, tmp_path / name, labels=band_bundle.labels, description=metadata)
        output = open_session(bundle).run(windows, embeddings=True)
        assert output.logits == pytest.approx(expected.logits)
        assert output.embeddings == pytest.approx(expected.embeddings)


def test_overwrite_replaces_bundles_and_nothing_else(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=16_000)
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="is no bundle, so it is not replaced"):
        wrap_model(graph, home, labels=LEVEL_LABELS, description=LEVEL)
    assert (home / "thesis.txt").exists()
    bundle = wrap_model(graph, tmp_path / "good", labels=LEVEL_LABELS, description=LEVEL)
    with pytest.raises(ModelError):
        wrap_model(graph, tmp_path / "good", labels=LEVEL_LABELS[:2], description=LEVEL)
    verify_bundle(read_bundle(bundle.folder))


def test_a_description_out_of_range_is_one_line(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=16_000)
    slow = ModelDescription(**{**vars(LEVEL), "sample_rate_hz": 1000, "window_s": 16.0})
    with pytest.raises(InputError, match="level.onnx: sample_rate_hz: Input should be greater than or equal to 4000$"):
        wrap_model(graph, tmp_path / "bundle", labels=LEVEL_LABELS, description=slow)
