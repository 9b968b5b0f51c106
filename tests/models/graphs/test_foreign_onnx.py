"""Foreign graphs give the values of a reference, or are refused in words."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.fixtures.foreign_models import N_CLASSES, N_WINDOW, RATE_HZ, WEIGHTS, Foreign
from tests.fixtures.logs import logged
from tests.fixtures.models import LEVEL_LABELS, level_graph

from dawnchorus.errors import InputError, InvalidBundleError, ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model
from dawnchorus.models.runner import open_session
from dawnchorus.taxonomy.labels import Label

ABOUT = ModelDescription(
    name="x", version="1", sample_rate_hz=RATE_HZ, window_s=N_WINDOW / RATE_HZ, activation="sigmoid", license="CC0-1.0"
)
LABELS = tuple(Label(f"Avis {name}", f"Avis {name}") for name in "abc")[:N_CLASSES]
WINDOWS = np.random.default_rng(3).uniform(-0.9, 0.9, (11, N_WINDOW)).astype(np.float32)
TOLERANCES = {"float64": 1e-5, "float32": 1e-5, "float16": 0.01, "int8": 0.15, "uint8": 0.15}


def describe(foreign: Foreign) -> ModelDescription:
    return ModelDescription(**{**vars(ABOUT), "activation": "identity" if foreign.has_sigmoid else "sigmoid"})


def check(foreign: Foreign, path: Path) -> None:
    """Wrap a graph, and compare scores and embeddings of 11 windows with the reference."""
    bundle = wrap_model(foreign.write(path), path.with_suffix(""), labels=LABELS, description=describe(foreign))
    outputs, expected = open_session(bundle).run(WINDOWS, embeddings=True), foreign.reference(WINDOWS)
    tolerance = TOLERANCES[foreign.dtype]
    np.testing.assert_allclose(outputs.logits, expected["label"], atol=tolerance, err_msg=f"{foreign}")
    assert (outputs.embeddings is None) == (foreign.n_outputs == 1)
    if outputs.embeddings is not None:
        np.testing.assert_allclose(outputs.embeddings, expected["embedding"], atol=tolerance, err_msg=f"{foreign}")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_graph_of_any_type_and_batch_gives_the_values_of_the_reference(suffix: str, dtype: str, tmp_path: Path) -> None:
    numbers = itertools.cycle(range(1, 5))
    for batch, has_sigmoid in itertools.product((None, 1, 8), (False, True)):
        foreign = Foreign(dtype, batch, next(numbers), has_sigmoid)
        check(foreign, tmp_path / f"{batch} {has_sigmoid}{suffix}")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize("axes", [(1, N_WINDOW), (N_WINDOW, 1), (2, N_WINDOW // 2), (N_WINDOW * 2,), (4, 4, 1)])
def test_axes_of_size_1_are_added_and_others_are_refused(axes: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    foreign = Foreign(axes=axes)
    if axes in ((1, N_WINDOW), (N_WINDOW, 1)):
        check(foreign, tmp_path / f"x{suffix}")
        return
    with pytest.raises(ModelError, match=r"the graph takes 32 samples|expected one input of shape \[batch, samples\]"):
        check(foreign, tmp_path / f"x{suffix}")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_two_outputs_of_the_size_are_refused_until_one_is_named(suffix: str, tmp_path: Path) -> None:
    foreign = Foreign(n_outputs=2, embedding_name="one")
    path = foreign.write(tmp_path / f"x{suffix}")

    def wrap(scores_output: str | None = None, embeddings_output: str | None = None) -> Bundle:
        return wrap_model(
            path,
            tmp_path / "x",
            labels=LABELS,
            description=describe(foreign),
            scores_output=scores_output,
            embeddings_output=embeddings_output,
        )

    refused: tuple[tuple[dict[str, str], str], ...] = (
        ({}, "expected one output with 3 classes, found one .* label .*--scores-output"),
        ({"scores_output": "two"}, "expected an output two with 3 classes"),
        ({"scores_output": "one", "embeddings_output": "two"}, "expected an output two with one embedding"),
        ({"scores_output": "one", "embeddings_output": "one"}, r"next to the scores \(one\)"),
    )
    for options, message in refused:
        with pytest.raises(ModelError, match=message):
            wrap(**options)
    assert wrap(scores_output="label").info.embedding_dim is None
    assert wrap(embeddings_output="one").info.embedding_dim == N_CLASSES
    named = wrap(scores_output="one", embeddings_output="label")
    output = open_session(named).run(WINDOWS, embeddings=True)
    expected = foreign.reference(WINDOWS)
    assert output.embeddings is not None
    np.testing.assert_allclose(output.logits, expected["embedding"], atol=1e-5)
    np.testing.assert_allclose(output.embeddings, expected["label"], atol=1e-5)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_activation_that_the_scores_do_not_have_is_refused(suffix: str, tmp_path: Path) -> None:
    for has_sigmoid, activation, message in (
        (False, "identity", "Expected scores from 0 to 1 with activation identity: .* Use --activation sigmoid"),
        (True, "sigmoid", "The graph ends in Sigmoid, .* Use --activation identity"),
        (True, "softmax", "The graph ends in Sigmoid"),
    ):
        path = Foreign(has_sigmoid=has_sigmoid, dtype="uint8").write(tmp_path / f"x{suffix}")
        description = ModelDescription(**{**vars(ABOUT), "activation": activation})
        with pytest.raises(InvalidBundleError, match=message):
            wrap_model(path, tmp_path / "x", labels=LABELS, description=description)


def test_doubts_and_choices_are_said(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=N_WINDOW)
    path = Foreign(n_outputs=4).write(tmp_path / "x.onnx")
    with logged() as notes:
        wrap_model(graph, tmp_path / "a", labels=LEVEL_LABELS, description=ABOUT)
        wrap_model(path, tmp_path / "b", labels=LABELS, description=ABOUT)
    doubt, choice = notes
    assert "Activation sigmoid: on silence, noise and a tone the graph gives 0 to 1, as scores" in doubt
    assert "scores are label; embeddings are embedding; not used: spectrogram [2, 4, 4] float32, index" in choice


def write_tail(path: Path, *nodes: onnx.NodeProto, dtype: int = TensorProto.FLOAT) -> Path:
    """Write a graph of linear sums, which `nodes` turn into scores."""
    audio = helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", N_WINDOW])
    scores = helper.make_tensor_value_info("scores", dtype, ["n", N_CLASSES])
    first = helper.make_node("MatMul", ["sound", "weights"], ["sums"])
    graph = helper.make_graph(
        [first, *nodes], "tail", [audio], [scores], [numpy_helper.from_array(WEIGHTS.T.copy(), "weights")]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_percent_is_distinguished_from_logits(tmp_path: Path) -> None:
    def wrap(factor: float, activation: str) -> list[str]:
        shares = helper.make_node("Sigmoid", ["sums"], ["shares"])
        constant = helper.make_node("Constant", [], ["factor"], value_float=float(factor))
        times = helper.make_node("Mul", ["shares", "factor"], ["scores"])
        path = write_tail(tmp_path / "x.onnx", shares, constant, times)
        description = ModelDescription(**{**vars(ABOUT), "activation": activation})
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


def test_whole_numbers_and_random_ones_are_no_scores(tmp_path: Path) -> None:
    """Labels as the only output: onnx/sklearn-onnx#974. Dropout that stayed in: microsoft/onnxruntime#5600."""
    cast = helper.make_node("Cast", ["sums"], ["scores"], to=TensorProto.INT64)
    whole = write_tail(tmp_path / "whole.onnx", cast, dtype=TensorProto.INT64)
    with pytest.raises(ModelError, match=r"scores \[2, 3\] int64. scores gives int64, which are no scores"):
        wrap_model(whole, tmp_path / "x", labels=LABELS, description=ABOUT)
    noise = helper.make_node("RandomNormalLike", ["sums"], ["noise"])
    random = write_tail(tmp_path / "random.onnx", noise, helper.make_node("Add", ["sums", "noise"], ["scores"]))
    with pytest.raises(ModelError, match=r"found the operators RandomNormalLike, .* random numbers.*model\.eval"):
        wrap_model(random, tmp_path / "x", labels=LABELS, description=ABOUT)


def test_random_operators_are_refused_however_small_or_hidden(tmp_path: Path) -> None:
    def wrap(*nodes: onnx.NodeProto) -> None:
        path = write_tail(tmp_path / "random.onnx", *nodes, helper.make_node("Add", ["sums", "noise"], ["scores"]))
        wrap_model(path, tmp_path / "x", labels=LABELS, description=ABOUT)

    small = helper.make_node("RandomNormalLike", ["sums"], ["noise"], scale=1e-6)
    mode = helper.make_node("Constant", [], ["mode"], value=numpy_helper.from_array(np.array([1], bool).reshape(())))
    share = helper.make_node("Constant", [], ["share"], value=numpy_helper.from_array(np.array(1e-6, np.float32)))
    dropout = helper.make_node("Dropout", ["sums", "share", "mode"], ["noise"])
    inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("RandomUniformLike", ["sums"], ["inner"])], "b", [], [inner])
    hidden = helper.make_node("If", ["mode"], ["noise"], then_branch=branch, else_branch=branch)
    for nodes, name in (((small,), "RandomNormalLike"), ((mode, share, dropout), "Dropout")):
        with pytest.raises(ModelError, match=f"found the operators {name}, which draw random numbers"):
            wrap(*nodes)
    with pytest.raises(ModelError, match="found the operators RandomUniformLike"):
        wrap(mode, hidden)
    off = helper.make_node("Constant", [], ["mode"], value=numpy_helper.from_array(np.array([0], bool).reshape(())))
    wrap(off, share, dropout)


def test_values_of_which_none_is_positive_are_said(tmp_path: Path) -> None:
    def note(*nodes: onnx.NodeProto) -> str:
        path = write_tail(tmp_path / "low.onnx", *nodes)
        with logged() as notes:
            wrap_model(path, tmp_path / "x", labels=LABELS, description=ABOUT)
        return notes[0]

    shares = helper.make_node("Softmax", ["sums"], ["shares"], axis=1)
    log = helper.make_node("Log", ["shares"], ["logs"])
    one = helper.make_node("Constant", [], ["one"], value_float=1.0)
    assert "shares that add up to 1: use --activation softmax" in note(
        shares, log, one, helper.make_node("Mul", ["logs", "one"], ["scores"])
    )
    size, far = helper.make_node("Abs", ["sums"], ["size"]), helper.make_node("Neg", ["size"], ["scores"])
    assert "None is positive, so that no score is above 0.5" in note(size, far)


def test_the_only_output_is_not_scores_and_embedding(tmp_path: Path) -> None:
    path = Foreign().write(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"label has that size, but is not used .* because --embeddings-output names"):
        wrap_model(path, tmp_path / "x", labels=LABELS, description=ABOUT, embeddings_output="label")


def test_ends_that_a_sigmoid_makes_no_scores_of_are_said(tmp_path: Path) -> None:
    path = write_tail(tmp_path / "tanh.onnx", helper.make_node("Tanh", ["sums"], ["scores"]))
    with logged() as notes:
        wrap_model(path, tmp_path / "x", labels=LABELS, description=ABOUT)
    assert "ends in Tanh. From -1 to 1, a sigmoid gives no less than 0.27" in notes[0]


def test_whole_numbers_without_a_scale_are_refused(tmp_path: Path) -> None:
    audio = helper.make_tensor_value_info("sound", TensorProto.INT16, ["n", N_WINDOW])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", N_WINDOW])
    cast = helper.make_node("Cast", ["sound"], ["scores"], to=TensorProto.FLOAT)
    graph = helper.make_graph([cast], "pcm", [audio], [scores])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"found sound \[any, 16\] int16. .* Export it with a float input"):
        wrap_model(tmp_path / "x.onnx", tmp_path / "x", labels=LABELS, description=ABOUT)


def test_graph_that_mixes_the_windows_of_a_batch_is_refused(tmp_path: Path) -> None:
    audio = helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", N_WINDOW])
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
        wrap_model(tmp_path / "x.onnx", tmp_path / "x", labels=LABELS, description=ABOUT)


def test_missing_zero_point_of_the_input_is_0_of_its_own_type(tmp_path: Path) -> None:
    audio = helper.make_tensor_value_info("sound", TensorProto.INT8, ["n", N_WINDOW])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", N_CLASSES])
    nodes = [
        helper.make_node("DequantizeLinear", ["sound", "scale"], ["wave"]),
        helper.make_node("MatMul", ["wave", "weights"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(WEIGHTS.T.copy(), "weights"),
        numpy_helper.from_array(np.array(1 / 128, np.float32), "scale"),
    ]
    graph = helper.make_graph(nodes, "int8", [audio], [scores], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    bundle = wrap_model(tmp_path / "x.onnx", tmp_path / "x", labels=LABELS, description=ABOUT)
    windows = np.random.default_rng(1).integers(-120, 120, (3, N_WINDOW)).astype(np.float32) / 128
    np.testing.assert_allclose(open_session(bundle).run(windows).logits, windows @ WEIGHTS.T, atol=1e-5)


def test_windows_without_a_sample_are_refused(tmp_path: Path) -> None:
    path = Foreign().write(tmp_path / "x.onnx")
    for window_s in (-1.0, float("nan")):
        with pytest.raises(InputError, match="expected a window of one sample or more"):
            wrap_model(
                path,
                tmp_path / "x",
                labels=LABELS,
                description=ModelDescription(**{**vars(ABOUT), "window_s": window_s}),
            )
