"""External models on silence, noise and a tone: scores that do not fit their activation are refused or noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.fixtures.external_models import (
    DESCRIPTION,
    LABELS,
    N_CLASSES,
    WEIGHTS,
    WINDOW_SAMPLES,
    ExternalModel,
    write_tail,
)
from tests.fixtures.logs import logged
from tests.fixtures.models import LEVEL_LABELS, level_graph

from dawnchorus.errors import InvalidBundleError
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_activation_that_the_scores_do_not_have_is_refused(suffix: str, tmp_path: Path) -> None:
    for has_sigmoid, activation, message in (
        (False, "identity", "Expected scores from 0 to 1 with activation identity: .* Use --activation sigmoid"),
        (True, "sigmoid", "The graph ends in Sigmoid, .* Use --activation identity"),
        (True, "softmax", "The graph ends in Sigmoid"),
    ):
        path = ExternalModel(has_sigmoid=has_sigmoid, dtype="uint8").write(tmp_path / f"x{suffix}")
        description = ModelDescription(**{**vars(DESCRIPTION), "activation": activation})
        with pytest.raises(InvalidBundleError, match=message):
            wrap_model(path, tmp_path / "x", labels=LABELS, description=description)


def test_doubts_and_choices_are_said(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=WINDOW_SAMPLES)
    path = ExternalModel(n_outputs=4).write(tmp_path / "x.onnx")
    with logged() as notes:
        wrap_model(graph, tmp_path / "a", labels=LEVEL_LABELS, description=DESCRIPTION)
        wrap_model(path, tmp_path / "b", labels=LABELS, description=DESCRIPTION)
    doubt, choice = notes
    assert "Activation sigmoid: on silence, noise and a tone the graph gives 0 to 1, as scores" in doubt
    assert "scores are label; embeddings are embedding; not used: spectrogram [2, 4, 4] float32, index" in choice


def test_percent_is_distinguished_from_logits(tmp_path: Path) -> None:
    def wrap(factor: float, activation: str) -> list[str]:
        shares = helper.make_node("Sigmoid", ["sums"], ["shares"])
        constant = helper.make_node("Constant", [], ["factor"], value_float=float(factor))
        times = helper.make_node("Mul", ["shares", "factor"], ["scores"])
        path = write_tail(tmp_path / "x.onnx", shares, constant, times)
        description = ModelDescription(**{**vars(DESCRIPTION), "activation": activation})
        with logged() as notes:
            wrap_model(path, tmp_path / "x", labels=LABELS, description=description)
        return notes

    percent = "sigmoid would give 0.5 or more everywhere. They look like percent: divide them by 100"
    with pytest.raises(InvalidBundleError, match=percent):
        wrap(100, "identity")
    with pytest.raises(InvalidBundleError, match="None is negative, .* Export the values before the last step"):
        wrap(3, "identity")
    notes = wrap(100, "sigmoid")
    assert percent in notes[0]


def test_values_of_which_none_is_positive_are_said(tmp_path: Path) -> None:
    def note(*nodes: onnx.NodeProto) -> str:
        path = write_tail(tmp_path / "low.onnx", *nodes)
        with logged() as notes:
            wrap_model(path, tmp_path / "x", labels=LABELS, description=DESCRIPTION)
        return notes[0]

    shares = helper.make_node("Softmax", ["sums"], ["shares"], axis=1)
    log = helper.make_node("Log", ["shares"], ["logs"])
    one = helper.make_node("Constant", [], ["one"], value_float=1.0)
    assert "shares that add up to 1: use --activation softmax" in note(
        shares, log, one, helper.make_node("Mul", ["logs", "one"], ["scores"])
    )
    size, far = helper.make_node("Abs", ["sums"], ["size"]), helper.make_node("Neg", ["size"], ["scores"])
    assert "None is positive, so that no score is above 0.5" in note(size, far)


def test_ends_that_a_sigmoid_makes_no_scores_of_are_said(tmp_path: Path) -> None:
    path = write_tail(tmp_path / "tanh.onnx", helper.make_node("Tanh", ["sums"], ["scores"]))
    with logged() as notes:
        wrap_model(path, tmp_path / "x", labels=LABELS, description=DESCRIPTION)
    assert "ends in Tanh. From -1 to 1, a sigmoid gives no less than 0.27" in notes[0]


def test_graph_that_mixes_the_windows_of_a_batch_is_refused(tmp_path: Path) -> None:
    audio = helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", WINDOW_SAMPLES])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", N_CLASSES])
    nodes = [
        helper.make_node("Abs", ["sound"], ["level"]),
        helper.make_node("ReduceMax", ["level"], ["peak"], keepdims=0),
        helper.make_node("Add", ["peak", "tiny"], ["divisor"]),
        helper.make_node("Div", ["sound", "divisor"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "weights"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(WEIGHTS.T.copy(), "weights"),
        numpy_helper.from_array(np.array(1e-6, np.float32), "tiny"),
    ]
    graph = helper.make_graph(nodes, "peak", [audio], [scores], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(InvalidBundleError, match="change by up to .* with the windows that are scored with it"):
        wrap_model(tmp_path / "x.onnx", tmp_path / "x", labels=LABELS, description=DESCRIPTION)
