"""ONNX's own evaluator, which computes with NumPy: slow, and good to hold other engines against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnx import ModelProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator

from dawnchorus import Engine, InvalidBundleError, ModelError, Port, check_inputs


class ReferenceGraph:
    """A graph whose operators are computed one after the other."""

    def __init__(self, path: Path, *, n_threads: int) -> None:
        del n_threads  # NumPy has its own
        try:
            model = ModelProto.FromString(path.read_bytes())
            self._evaluator = ReferenceEvaluator(model)
        except Exception as error:
            raise InvalidBundleError(f"cannot be loaded: {error}", subject=path) from error
        self._path = path
        self.inputs = tuple(map(to_port, model.graph.input))
        self.outputs = tuple(map(to_port, model.graph.output))

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> list[Any]:
        """Compute the outputs of these names."""
        check_inputs(self._path, self.inputs, inputs)
        try:
            return list(self._evaluator.run(list(outputs), dict(inputs)))
        except Exception as error:
            raise ModelError(f"the graph does not run: {error}", subject=self._path) from error


def to_port(declared: ValueInfoProto) -> Port:
    """Return the port that a graph declares."""
    tensor = declared.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return Port(declared.name, dtype, tuple(dim.dim_value or None for dim in tensor.shape.dim))


ONNX_REFERENCE = Engine("onnx-reference", "ONNX graphs in NumPy", (".onnx",), package="onnx", open=ReferenceGraph)
