"""Graphs that name other files are refused wherever a graph is opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.fixtures.models import LEVEL, LEVEL_LABELS

from dawnchorus.errors import InvalidBundleError
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.inference.speech import VoiceActivityDetector
from dawnchorus.models.bundle import Bundle, file_sha256, read_bundle, verify_bundle
from dawnchorus.models.engines.registry import open_graph
from dawnchorus.models.graphs.class_extension import extend_classes
from dawnchorus.models.graphs.ensemble import make_ensemble
from dawnchorus.models.graphs.input_adapter import adapt_input
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.graphs.precision import quantize
from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.models.runner import open_session
from dawnchorus.models.store import ModelStore

REFUSED = "its weights are in another file"


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def plant(model: onnx.ModelProto, where: str, location: str = "../secret") -> None:
    """Add the name of another file to a model, in one of the places where one can be."""
    tensor = external(location)
    if where == "initializer":
        model.graph.initializer.append(tensor)
    elif where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif where == "constant":
        model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    elif where == "subgraph":
        branch = helper.make_graph([], "branch", [], [], [tensor])
        model.graph.node.append(helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch))
    else:
        node = helper.make_node("Constant", [], ["c"], value=tensor)
        model.functions.append(helper.make_function("own", "f", [], ["c"], [node], [helper.make_opsetid("", 18)]))


@pytest.fixture
def stolen(level_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle whose graphs name a file beside its folder; the file is there."""
    folder = tmp_path / "stolen"
    shutil.copytree(level_bundle.folder, folder)
    (tmp_path / "secret").write_bytes(bytes(16))
    model = onnx.load(level_bundle.graph_path)
    plant(model, "initializer")
    for name in ("model.onnx", "range.onnx"):
        (folder / name).write_bytes(model.SerializeToString())
    bundle = read_bundle(folder)
    info = bundle.info.model_copy(update={"sha256": file_sha256(bundle.graph_path)})
    (folder / "bundle.json").write_text(info.model_dump_json())
    verify_bundle(read_bundle(folder))
    return read_bundle(folder)


def sigmoid(bundle: Bundle) -> Bundle:
    """Return the bundle, described as one that another can be merged with."""
    return replace(bundle, info=bundle.info.model_copy(update={"activation": "sigmoid", "family": "embedding_head"}))


WAYS: dict[str, Callable[[Bundle, Bundle, Path], object]] = {
    "a session": lambda stolen, _good, _out: open_session(stolen),
    "wrapping": lambda stolen, _good, out: wrap_model(stolen.graph_path, out, labels=LEVEL_LABELS, description=LEVEL),
    "an ensemble": lambda stolen, good, out: make_ensemble([good, stolen], out, name="x", license_name="CC0-1.0"),
    "another window": lambda stolen, _good, _out: adapt_input(stolen, rate_hz=32_000, window_s=2.0),
    "8 bits": lambda stolen, _good, out: quantize(stolen.graph_path, out, [np.zeros(16_000, np.float32)]),
    "a backbone": lambda stolen, good, out: extend_classes(sigmoid(stolen), sigmoid(good), out, name="x"),
    "a head": lambda stolen, good, out: extend_classes(sigmoid(good), sigmoid(stolen), out, name="x"),
    "a range model": lambda stolen, good, _out: RangeFilter(stolen, bundle=good, threshold=0.1),
    "a speech model": lambda stolen, _good, _out: VoiceActivityDetector(stolen.graph_path),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_graph_that_names_another_file_is_refused(
    way: str, stolen: Bundle, level_bundle: Bundle, store: ModelStore, tmp_path: Path
) -> None:
    assert store.open(stolen.folder).id == stolen.id
    with pytest.raises(InvalidBundleError, match=REFUSED):
        WAYS[way](stolen, replace(level_bundle), tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("where", ["initializer", "sparse", "constant", "subgraph", "function"])
@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "secret"])
def test_every_part_of_a_graph_is_checked(where: str, location: str, level_bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load(level_bundle.graph_path)
    plant(model, where, location)
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    for opened in (load_graph, open_graph):
        with pytest.raises(InvalidBundleError, match=rf"x\.onnx: {REFUSED}"):
            opened(path)


def test_graph_with_the_word_in_a_name_is_no_thief(level_bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load(level_bundle.graph_path)
    model.graph.doc_string = "location"
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    (logits,) = open_graph(path).run({"waveform": np.full((1, 16_000), 0.5, np.float32)}, ["logits"])
    assert logits[0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize("content", [b"", b"no graph", b"location, but no graph", bytes(100)])
def test_file_that_is_no_graph_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidBundleError, match=r"x\.onnx"):
        open_graph(path)


def test_pages_and_empty_or_cut_files_are_named_as_such(level_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    whole = level_bundle.graph_path.read_bytes()
    page = b"<!DOCTYPE html><title>Sign in</title>"
    for content, words in ((b"", "is empty"), (page, "is a text that begins with '<!DOCTYPE"), (whole[:-9], "cut off")):
        path.write_bytes(content)
        with pytest.raises(InvalidBundleError, match=f"x.onnx: not a whole ONNX model: the file .*{words}"):
            load_graph(path)
