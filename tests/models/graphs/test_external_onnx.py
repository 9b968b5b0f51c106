"""External graphs give the values of a reference, or are refused in words."""

from __future__ import annotations

import itertools
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
    WINDOWS,
    ExternalModel,
    describe,
    write_tail,
)

from dawnchorus.errors import InputError, ModelError
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model
from dawnchorus.models.runner import open_session

TOLERANCES = {"float64": 1e-5, "float32": 1e-5, "float16": 0.01, "int8": 0.15, "uint8": 0.15}


def check(external: ExternalModel, path: Path) -> None:
    """Wrap a graph, and compare scores and embeddings of 11 windows with the reference."""
    bundle = wrap_model(external.write(path), path.with_suffix(""), labels=LABELS, description=describe(external))
    outputs, expected = open_session(bundle).run(WINDOWS, embeddings=True), external.reference(WINDOWS)
    tolerance = TOLERANCES[external.dtype]
    np.testing.assert_allclose(outputs.logits, expected["label"], atol=tolerance, err_msg=f"{external}")
    assert (outputs.embeddings is None) == (external.n_outputs == 1)
    if outputs.embeddings is not None:
        np.testing.assert_allclose(outputs.embeddings, expected["embedding"], atol=tolerance, err_msg=f"{external}")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_graph_of_any_type_and_batch_gives_the_values_of_the_reference(suffix: str, dtype: str, tmp_path: Path) -> None:
    numbers = itertools.cycle(range(1, 5))
    for batch, has_sigmoid in itertools.product((None, 1, 8), (False, True)):
        external = ExternalModel(dtype, batch, next(numbers), has_sigmoid)
        check(external, tmp_path / f"{batch} {has_sigmoid}{suffix}")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize(
    "axes", [(1, WINDOW_SAMPLES), (WINDOW_SAMPLES, 1), (2, WINDOW_SAMPLES // 2), (WINDOW_SAMPLES * 2,), (4, 4, 1)]
)
def test_axes_of_size_1_are_added_and_others_are_refused(axes: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    external = ExternalModel(axes=axes)
    if axes in ((1, WINDOW_SAMPLES), (WINDOW_SAMPLES, 1)):
        check(external, tmp_path / f"x{suffix}")
        return
    with pytest.raises(ModelError, match=r"the graph takes 32 samples|expected one input of shape \[batch, samples\]"):
        check(external, tmp_path / f"x{suffix}")
    assert not (tmp_path / "x").exists()


def test_random_operators_are_refused_however_small_or_hidden(tmp_path: Path) -> None:
    def wrap(*nodes: onnx.NodeProto) -> None:
        path = write_tail(tmp_path / "random.onnx", *nodes, helper.make_node("Add", ["sums", "noise"], ["scores"]))
        wrap_model(path, tmp_path / "x", labels=LABELS, description=DESCRIPTION)

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


def test_whole_numbers_without_a_scale_are_refused(tmp_path: Path) -> None:
    audio = helper.make_tensor_value_info("sound", TensorProto.INT16, ["n", WINDOW_SAMPLES])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", WINDOW_SAMPLES])
    cast = helper.make_node("Cast", ["sound"], ["scores"], to=TensorProto.FLOAT)
    graph = helper.make_graph([cast], "pcm", [audio], [scores])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"found sound \[any, 16\] int16. .* Export it with a float input"):
        wrap_model(tmp_path / "x.onnx", tmp_path / "x", labels=LABELS, description=DESCRIPTION)


def test_missing_zero_point_of_the_input_is_0_of_its_own_type(tmp_path: Path) -> None:
    audio = helper.make_tensor_value_info("sound", TensorProto.INT8, ["n", WINDOW_SAMPLES])
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
    bundle = wrap_model(tmp_path / "x.onnx", tmp_path / "x", labels=LABELS, description=DESCRIPTION)
    windows = np.random.default_rng(1).integers(-120, 120, (3, WINDOW_SAMPLES)).astype(np.float32) / 128
    np.testing.assert_allclose(open_session(bundle).run(windows).logits, windows @ WEIGHTS.T, atol=1e-5)


def test_windows_without_a_sample_are_refused(tmp_path: Path) -> None:
    path = ExternalModel().write(tmp_path / "x.onnx")
    for window_s in (-1.0, float("nan")):
        with pytest.raises(InputError, match="expected a window of one sample or more"):
            wrap_model(
                path,
                tmp_path / "x",
                labels=LABELS,
                description=ModelDescription(**{**vars(DESCRIPTION), "window_s": window_s}),
            )
