"""Reader of TFLite files: operators in order, constants as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from dawnchorus.errors import ModelError

_OPERATOR_NAMES: dict[int, str] = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)
}
_DTYPES: dict[int, str] = {
    tflite.TensorType.FLOAT32: "<f4",
    tflite.TensorType.FLOAT16: "<f2",
    tflite.TensorType.INT32: "<i4",
    tflite.TensorType.INT64: "<i8",
}


@dataclass(frozen=True)
class Operator:
    """An operator of the graph, with the indices of its input and output tensors."""

    name: str
    """Name in TFLite's schema, such as "CONV_2D"; "operator" and its number if the package `tflite` lacks the name."""
    inputs: tuple[int, ...]
    """Indices of the input tensors in the graph; negative for an optional input that is not given."""
    outputs: tuple[int, ...]
    """Indices of the output tensors in the graph."""
    table: Any
    """The `Operator` of the package `tflite`."""

    def options(self, kind: type[Any]) -> Any:
        """Return the operator's options; `kind` is their class in the package `tflite`, such as `Conv2DOptions`."""
        options = kind()
        raw = self.table.BuiltinOptions()
        options.Init(raw.Bytes, raw.Pos)
        return options


class TfliteFile:
    """Reader of the first subgraph of a TFLite file.

    Args:
        path: the file.

    Raises:
        ModelError: the file is not a TFLite model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes()
        if data[4:8] != b"TFL3":
            raise ModelError(
                f"it is not a TFLite model: expected the mark 'TFL3' at byte 4, "
                f"found {data[4:8]!r}. Give the .tflite file itself.",
                subject=path,
            )
        self._model = tflite.Model.GetRootAs(data, 0)
        self._graph = self._model.Subgraphs(0)

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Tensor indices of the graph's inputs."""
        return _indices(self._graph.InputsAsNumpy())

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Tensor indices of the graph's outputs."""
        return _indices(self._graph.OutputsAsNumpy())

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """All operators in execution order."""
        operators = []
        for position in range(self._graph.OperatorsLength()):
            table = self._graph.Operators(position)
            code = self._model.OperatorCodes(table.OpcodeIndex())
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            operators.append(
                Operator(
                    name=_OPERATOR_NAMES.get(number, f"operator {number}"),
                    inputs=_indices(table.InputsAsNumpy()),
                    outputs=_indices(table.OutputsAsNumpy()),
                    table=table,
                )
            )
        return tuple(operators)

    @cached_property
    def _producers(self) -> dict[int, int]:
        return {tensor: position for position, operator in enumerate(self.operators) for tensor in operator.outputs}

    def producer(self, tensor: int) -> Operator:
        """Return the operator that computes the tensor with the index `tensor`.

        Raises:
            KeyError: no operator computes the tensor: it is an input or stored in the file.
        """
        return self.operators[self._producers[tensor]]

    def position(self, operator: Operator) -> int:
        """Return the position, from 0, in `operators` of the operator that computes the first output of `operator`.

        `operator` must be one of `operators`; for one of another file, which is not recognized, the position is wrong.

        Raises:
            KeyError: no operator of this file computes that output.
        """
        return self._producers[operator.outputs[0]]

    def is_integer(self, tensor: int) -> bool:
        """Return True if the tensor with the index `tensor` has the type int32 or int64."""
        kind = self._graph.Tensors(tensor).Type()
        return kind in (tflite.TensorType.INT32, tflite.TensorType.INT64)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape of the tensor with the index `tensor` as stated in the file; empty if none is stated."""
        shape = self._graph.Tensors(tensor).ShapeAsNumpy()
        return () if isinstance(shape, int) else tuple(int(n) for n in shape)

    def constant(self, tensor: int) -> npt.NDArray[Any] | None:
        """Return the stored values of the tensor with the index `tensor`, in its shape and type.

        None if the tensor is computed or an input, or the index is negative.

        Raises:
            ModelError: the values have a type that this reader does not know.
        """
        if tensor < 0:
            return None
        info = self._graph.Tensors(tensor)
        buffer = self._model.Buffers(info.Buffer())
        if not buffer.DataLength():
            return None
        if info.Type() not in _DTYPES:
            raise ModelError(
                f"the constant tensor {tensor} has the TFLite type {info.Type()}, "
                f"which this reader does not know. Use the float model.",
                subject=self.path,
            )
        raw = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES[info.Type()])
        return raw.reshape(self.shape(tensor))


def _indices(values: Any) -> tuple[int, ...]:
    """Return tensor indices; the package `tflite` returns 0 for a missing list."""
    return () if isinstance(values, int) else tuple(int(i) for i in values)
