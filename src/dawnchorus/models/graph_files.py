"""ONNX files that others made: complete in one file, or refused.

A tensor of an ONNX graph may lie in another file, whose path is in the graph and can be any path of this machine.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from dawnchorus.errors import BundleInvalid, ModelError

if TYPE_CHECKING:
    import onnx

_LOCATION = b"location"
"""The key under which a tensor names its other file: a file without these bytes has no such tensor."""


def open_graph(path: Path, options: onnxruntime.SessionOptions | None = None) -> onnxruntime.InferenceSession:
    """Load the graph to run it on the CPU.

    Raises:
        BundleInvalid: onnxruntime cannot load the file, or a tensor is in another file.
    """
    try:
        status = path.stat()
        if not _has_external_data(path, status.st_size, status.st_mtime_ns):
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base below Exception
        raise BundleInvalid(f"{path} cannot be loaded: {error}") from error
    raise BundleInvalid(_message(path))


def load_graph(path: Path) -> onnx.ModelProto:
    """Load the graph to change it.

    Raises:
        ModelError: the file is not an ONNX model, or a tensor is in another file.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own errors
        raise ModelError(f"{path}: not an ONNX model ({error}).") from error
    if _is_split(model):
        raise ModelError(_message(path))
    return model


def _message(path: Path) -> str:
    return f"{path}: its weights are in another file. Save it as one file."


@lru_cache(maxsize=64)
def _has_external_data(path: Path, _size: int, _mtime_ns: int) -> bool:
    """Return True if a tensor is in another file; searched once for each state of the file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_LOCATION) < 0:
            return False
    import onnx

    return _is_split(onnx.load(path, load_external_data=False))


def _is_split(model: onnx.ModelProto) -> bool:
    return any(tensor.data_location == tensor.EXTERNAL for tensor in _tensors(model))


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Yield all tensors below a protobuf message: in subgraphs, functions, attributes and sparse tensors, too."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in (value,) if hasattr(value, "ListFields") else value:
            if field.message_type.name == "TensorProto":
                yield inner
            else:
                yield from _tensors(inner)
