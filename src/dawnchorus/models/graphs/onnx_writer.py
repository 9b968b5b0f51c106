"""Construction of ONNX graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from dawnchorus.models.graphs.surgery import Shape

OPSET = 17


class OnnxWriter:
    """Builder of an ONNX graph; the methods that add constants and nodes return the names of their tensors."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, values: npt.ArrayLike, *, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant tensor with `values`, converted to `dtype`, and return the tensor's name."""
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype))
        self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def node(self, kind: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output, and return the output's name.

        Args:
            kind: operator type of ONNX, such as "Conv".
            inputs: names of the input tensors.
            output: name of the output tensor; None for a new name.
            **attributes: attributes of the operator.
        """
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def save(
        self,
        path: Path,
        *,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
    ) -> None:
        """Check the graph with `onnx.checker`, and write it to `path`.

        Args:
            path: the file; an existing file is replaced.
            inputs: shapes of the graph's inputs by name; all are float32 tensors. An axis is a size, or a text, such as
                "batch", for any size.
            outputs: shapes of the graph's outputs by name, in the same form; all are float32 tensors.
        """
        model = self.model(inputs=inputs, outputs=outputs)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)

    def model(
        self, *, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], opset: int = OPSET
    ) -> onnx.ModelProto:
        """Return the graph, unchecked.

        Args:
            inputs: shapes of the graph's inputs by name; all are float32 tensors. An axis is a size, or a text, such as
                "batch", for any size.
            outputs: shapes of the graph's outputs by name, in the same form; all are float32 tensors.
            opset: version of ONNX's operator set.
        """
        graph = helper.make_graph(
            self._nodes,
            "dawnchorus",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            initializer=list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="dawnchorus")
        model.ir_version = 8
        return model
