"""A graph that reads other files of this machine is refused wherever graphs are loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.conftest import LEVEL

from dawnchorus.errors import ModelError
from dawnchorus.identify.place import RangeFilter
from dawnchorus.models.bundle import Bundle, file_sha256, read_bundle
from dawnchorus.models.ensemble import make_ensemble
from dawnchorus.models.graph_files import load_graph, open_graph
from dawnchorus.models.growing import grown_bundle
from dawnchorus.models.precision import quantised
from dawnchorus.models.runner import open_session
from dawnchorus.models.wrap import wrap_model

REFUSED = "its weights are in another file"


def external(name: str, location: str, n_bytes: int = 16) -> TensorProto:
    """A tensor of uint8 [n] that lies in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.UINT8, dims=[n_bytes], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def constant(tensor: TensorProto, output: str = "bytes") -> onnx.NodeProto:
    return helper.make_node("Constant", [], [output], value=tensor)


def value(name: str = "bytes") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, [16])


def as_initializer(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Identity", [tensor.name], ["bytes"])
    return helper.make_model(helper.make_graph([node], "g", [], [value()], [tensor]))


def as_attribute(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([constant(tensor)], "g", [], [value()]))


def in_a_subgraph(tensor: TensorProto) -> onnx.ModelProto:
    branch = helper.make_graph([constant(tensor, "inner")], "branch", [], [value("inner")])
    is_true = numpy_helper.from_array(np.ones((), bool), "is_true")
    node = helper.make_node("If", ["is_true"], ["bytes"], then_branch=branch, else_branch=branch)
    return helper.make_model(helper.make_graph([node], "g", [], [value()], [is_true]))


def in_a_function(tensor: TensorProto) -> onnx.ModelProto:
    opset = helper.make_opsetid("", 18)
    function = helper.make_function("own", "F", [], ["inner"], [constant(tensor, "inner")], [opset])
    node = helper.make_node("F", [], ["bytes"], domain="own")
    graph = helper.make_graph([node], "g", [], [value()])
    return helper.make_model(graph, functions=[function], opset_imports=[opset, helper.make_opsetid("own", 1)])


def in_a_sparse_tensor(tensor: TensorProto) -> onnx.ModelProto:
    indices = numpy_helper.from_array(np.arange(16, dtype=np.int64), "indices")
    node = helper.make_node("Identity", [tensor.name], ["bytes"])
    graph = helper.make_graph([node], "g", [], [value()])
    graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [16]))
    return helper.make_model(graph)


@pytest.mark.parametrize("location", ["/etc/passwd", "../beside", "beside"])
@pytest.mark.parametrize("make", [as_initializer, as_attribute, in_a_subgraph, in_a_function, in_a_sparse_tensor])
def test_no_tensor_is_read_from_another_file(
    make: Callable[[TensorProto], onnx.ModelProto], location: str, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for beside in (tmp_path / "beside", folder / "beside"):
        beside.write_bytes(b"0123456789abcdef")
    path = folder / "x.onnx"
    path.write_bytes(make(external("w", location)).SerializeToString())
    for load in (load_graph, open_graph):
        with pytest.raises(ModelError, match=REFUSED):
            load(path)


def test_a_complete_graph_may_speak_of_locations(level_bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load(level_bundle.graph_path)
    model.doc_string = "of a location"
    onnx.save(model, tmp_path / "x.onnx")
    assert load_graph(tmp_path / "x.onnx") == model
    assert open_graph(tmp_path / "x.onnx").get_inputs()[0].name == "waveform"


@pytest.fixture
def split_bundle(band_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle with embeddings whose hashes fit, and whose weights onnxruntime would find beside the graph."""
    folder = tmp_path / "split"
    shutil.copytree(band_bundle.folder, folder)
    onnx.save(
        onnx.load(folder / "model.onnx"),
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    shutil.copy(folder / "model.onnx", folder / "range.onnx")
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace(band_bundle.info.sha256, file_sha256(folder / "model.onnx")))
    return read_bundle(folder)


def test_bundles_of_strangers_are_refused_by_all_that_uses_them(
    split_bundle: Bundle, band_bundle: Bundle, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    uses: dict[str, Callable[[], object]] = {
        "identify": lambda: open_session(split_bundle),
        "range filter": lambda: RangeFilter(split_bundle, bundle=band_bundle, threshold=0.5),
        "wrap": lambda: wrap_model(split_bundle.graph_path, made, labels=split_bundle.labels, description=LEVEL),
        "ensemble": lambda: make_ensemble([band_bundle, split_bundle], made, name="x", license_name="CC0-1.0"),
        "shrink": lambda: quantised(split_bundle.graph_path, made, []),
        "base of a grown bundle": lambda: grown_bundle(split_bundle, band_bundle, made, name="x"),
        "head of a grown bundle": lambda: grown_bundle(band_bundle, split_bundle, made, name="x"),
    }
    for name, use in uses.items():
        with pytest.raises(ModelError, match=REFUSED):
            use()
        assert not made.exists(), name
