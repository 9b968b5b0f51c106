"""Loading of ONNX graphs, including untrusted ones.

A graph can refer to other files for its weights; through an untrusted graph, any file of this machine could be read.
Every graph is therefore checked here, also before an engine loads it, and refused if it refers to other files.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dawnchorus.errors import InvalidBundleError
from dawnchorus.storage.file_kinds import describe_content

if TYPE_CHECKING:
    import onnx

_EXTERNAL_KEY = b"location"
"""Key under which a tensor names its file; a graph without these bytes names no file."""


def load_graph(path: Path) -> onnx.ModelProto:
    """Load an ONNX graph.

    Raises:
        InvalidBundleError: the file is not an ONNX model, or refers to other files.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise InvalidBundleError(f"not a whole ONNX model: {describe_content(path)}.", subject=path) from error
    if not model.HasField("graph"):
        raise InvalidBundleError(f"not a whole ONNX model: {describe_content(path)}.", subject=path)
    if any(tensor.external_data or tensor.data_location for tensor in _tensors(model)):
        raise InvalidBundleError(
            "its weights are in another file, which is refused because it could be any file of this machine. "
            "Save the model as one file.",
            subject=path,
        )
    return model


def check_self_contained(path: Path) -> None:
    """Check that an ONNX graph refers to no other files, such as weights; usually without parsing the graph.

    A file that is not parsed may still be no ONNX model.

    Raises:
        InvalidBundleError: the graph refers to other files, or the file cannot be read, is empty or, if it has to be
            parsed, is not an ONNX model.
    """
    try:
        status = path.stat()
        may_name_files = _has_external_key(path, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise InvalidBundleError(f"cannot be loaded: {error}.", subject=path) from error
    if may_name_files:  # or has the word in a name
        load_graph(path)


@lru_cache(maxsize=64)
def _has_external_key(path: Path, _size: int, _mtime_ns: int) -> bool:
    """Return True if the file contains the key. Cached by size and modification time."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_EXTERNAL_KEY) >= 0


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model: of the graph, its subgraphs, its functions and its training graphs."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)
    for training in model.training_info:
        yield from _graph_tensors(training.initialization)
        yield from _graph_tensors(training.algorithm)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield sparse.values
            yield sparse.indices
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)
