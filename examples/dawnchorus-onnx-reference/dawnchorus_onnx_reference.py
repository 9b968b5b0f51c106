"""ONNX's own evaluator, which computes with NumPy: slow, and good to hold other engines against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnx import helper
from onnx.reference import ReferenceEvaluator

from dawnchorus import Engine, InvalidBundleError, ModelError, Port, check_inputs


class ReferenceGraph:
    """A graph whose operators are computed one after the other."""

    def __init__(self, path: Path, *, n_threads: int) -> None:
        del n_threads  # NumPy has its own
        try:
            self._evaluator = ReferenceEvaluator(str(path))
        except Exception as error:
            raise InvalidBundleError(f"cannot be loaded: {error}", subject=path) from error
        self._path = path
        self.inputs = to_ports(self._evaluator.input_names, self._evaluator.input_types)
        self.outputs = to_ports(self._evaluator.output_names, self._evaluator.output_types)

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> list[Any]:
        """Compute the outputs of these names."""
        check_inputs(self._path, self.inputs, inputs)
        try:
            return list(self._evaluator.run(list(outputs), dict(inputs)))
        except Exception as error:
            raise ModelError(f"the graph does not run: {error}", subject=self._path) from error


def to_ports(names: Sequence[str], types: Sequence[Any]) -> tuple[Port, ...]:
    """Return ports of what a graph declares."""
    tensors = [kind.tensor_type for kind in types]
    dtypes = [helper.tensor_dtype_to_np_dtype(tensor.elem_type).name for tensor in tensors]
    shapes = [tuple(dim.dim_value or None for dim in tensor.shape.dim) for tensor in tensors]
    return tuple(map(Port, names, dtypes, shapes))


ONNX_REFERENCE = Engine("onnx-reference", "ONNX graphs in NumPy", (".onnx",), package="onnx", open=ReferenceGraph)
