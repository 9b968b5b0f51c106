"""ONNX graphs from other programs, and their conversion to a bundle's input and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import OutputName
from dawnchorus.models.engines.base import LoadedGraph, Port, Scale
from dawnchorus.models.engines.registry import open_graph
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.graphs.ports import Chosen, find_layout, measure_outputs
from dawnchorus.models.graphs.surgery import rename_values

BUNDLE_NAMES = frozenset(("waveform", "logits", "embeddings"))

_PASSING = frozenset(
    ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "QuantizeLinear", "DequantizeLinear")
)
"""Operators that do not change values."""


_RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
)


class ExternalOnnx:
    """An ONNX graph from another program, which can be saved with a bundle's input and outputs.

    Args:
        path: file of the graph.
        window_samples: number of samples in a window.
        engine: name of the engine that runs the graph; None for the first engine that reads the file.

    Attributes:
        layout: shape of the input.
        outputs: outputs of the graph in file order, with their shapes for `n_windows` windows.
        n_windows: number of windows in the run that measured the shapes.

    Raises:
        InvalidBundleError: the file is not an ONNX model that can be loaded.
        ModelError: the graph has no input for waveforms of `window_samples` samples, or does not run.
    """

    file_name: Literal["model.onnx"] = "model.onnx"
    """Name of the graph's file in a bundle."""

    def __init__(self, path: Path, window_samples: int, *, engine: str | None = None) -> None:
        self._window_samples = window_samples
        self._model = load_graph(path)
        self._constants = _constants(self._model.graph)
        graph = open_graph(path, engine=engine)
        inputs = [self._with_scale(port) for port in graph.inputs]
        self.layout = find_layout(path, inputs, window_samples)
        self._input = inputs[0]
        if self.layout.batch is None:
            with suppress(ModelError):
                self.outputs, self.n_windows = self._measure(graph, 2), 2
                return
            self.layout = self.layout.with_batch(1)
        self.n_windows = self.layout.batch or 1
        self.outputs = self._measure(graph, self.n_windows)

    def _measure(self, graph: LoadedGraph, n_windows: int) -> list[Port]:
        """Return the outputs with the shapes that they have for `n_windows` windows.

        Raises:
            ModelError: the graph does not run.
        """
        ports = measure_outputs(graph, self.layout.with_batch(n_windows), given=self._input)
        return [self._with_scale(port) for port in ports]

    def _with_scale(self, port: Port) -> Port:
        """Return the port with the scale of the quantization node next to it; unchanged if there is none."""
        for node in self._model.graph.node:
            is_next_to = (node.op_type == "DequantizeLinear" and node.input[0] == port.name) or (
                node.op_type == "QuantizeLinear" and node.output[0] == port.name
            )
            if is_next_to:
                numbers = [float(np.ravel(self._constants[n])[0]) for n in node.input[1:] if n in self._constants]
                if len(numbers) == len(node.input) - 1:
                    scale, zero = (*numbers, 0.0)[:2]
                    return replace(port, scale=Scale(scale, int(zero)))
        return port

    def last_operator(self, position: int) -> str:
        """Return the type of the operator, such as "Sigmoid", that computes the output at `position` in `outputs`.

        Reshapes, casts and (de)quantization are skipped. Empty if no operator computes the output.
        """
        producers = {name: node for node in self._model.graph.node for name in node.output}
        node = producers.get(self.outputs[position].name)
        while node is not None and node.op_type in _PASSING and node.input:
            node = producers.get(node.input[0])
        return "" if node is None else node.op_type

    def random_operators(self) -> list[str]:
        """Return the types of operators, such as "Bernoulli", that draw random numbers, without repetition.

        Operators in subgraphs and functions are included.
        """
        nodes = list(_walk(self._model.graph.node))
        nodes += [node for function in self._model.functions for node in _walk(function.node)]
        return list(dict.fromkeys(node.op_type for node in nodes if _is_random(node, self._constants)))

    def save(self, folder: Path, chosen: Chosen) -> dict[OutputName, int] | None:
        """Write the graph to `folder` with the input `waveform` [batch, samples] and the `chosen` outputs, all float32.

        The outputs are called `logits` [batch, classes] and `embeddings` [batch, dim]. Call this method once and last:
        it changes the graph in memory.

        Returns:
            None, the value of `BundleDescription.graph_outputs` for outputs that are found by their names.
        """
        outputs = {"logits": (chosen.scores, chosen.n_classes)}
        if chosen.embeddings is not None and chosen.embedding_dim is not None:
            outputs["embeddings"] = (chosen.embeddings, chosen.embedding_dim)
        graph = self._model.graph
        prefix = _free_prefix(graph)
        rename_values(graph, {name: prefix + name for name in BUNDLE_NAMES})
        given = prefix + self._input.name if self._input.name in BUNDLE_NAMES else self._input.name
        declared = next(value for value in graph.input if value.name == given)
        batch: int | str = self.layout.batch or next(
            (dim.dim_param for dim in declared.type.tensor_type.shape.dim[:1] if dim.dim_param), "batch"
        )
        graph.input.remove(declared)
        graph.input.insert(
            0, helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [batch, self._window_samples])
        )
        before = _Chain(graph, prefix + "in", "waveform")
        if len(self.layout.shape) != 2:
            before.reshape(self.layout.shape)
        before.encode(self._input)
        self._write_zero_point(given, before)
        del graph.output[:]
        for name, (port, width) in outputs.items():
            source = prefix + port.name if port.name in BUNDLE_NAMES else port.name
            after = _Chain(graph, prefix + name, source)
            after.decode(port)
            if len(port.shape) != 2 or port.shape[1] != width:
                after.reshape((self.layout.batch or -1, width))
            graph.node.extend(after.nodes(name))
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width]))
        for node in reversed(before.nodes(given)):
            graph.node.insert(0, node)
        onnx.save(self._model, folder / self.file_name)
        return None

    def _write_zero_point(self, name: str, chain: _Chain) -> None:
        """Write the zero point of the node that takes the input, if the graph omits it.

        In ONNX, a missing zero point is 0 of the input's type. When onnxruntime (1.31) fuses that node with the one
        before, it assumes an unsigned type, and negative samples would be lost.
        """
        for node in self._model.graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] == name and len(node.input) == 2:
                node.input.append(chain.zero_point(self._input))


class _Chain:
    """A sequence of nodes to add to a graph, with their constants."""

    def __init__(self, graph: onnx.GraphProto, prefix: str, source: str) -> None:
        self._graph, self._prefix, self._source = graph, prefix, source
        self._steps: list[tuple[str, list[str], dict[str, Any]]] = []

    def reshape(self, shape: Sequence[int]) -> None:
        """Append a reshape to `shape`."""
        self._steps.append(("Reshape", [self._constant(np.array(shape, np.int64))], {}))

    def encode(self, port: Port) -> None:
        """Append the conversion from float32 to the port's type."""
        if port.scale is not None:
            self._steps.append(("QuantizeLinear", self._scale(port, port.scale), {}))
        elif port.dtype != "float32":
            self._steps.append(("Cast", [], {"to": helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))}))

    def decode(self, port: Port) -> None:
        """Append the conversion from the port's type to float32."""
        if port.scale is not None:
            self._steps.append(("DequantizeLinear", self._scale(port, port.scale), {}))
        elif port.dtype != "float32":
            self._steps.append(("Cast", [], {"to": TensorProto.FLOAT}))

    def nodes(self, output: str) -> list[onnx.NodeProto]:
        """Return all nodes; the last one computes the value `output`."""
        steps = self._steps or [("Identity", [], {})]
        names = [self._source, *(f"{self._prefix}_step_{k}" for k in range(1, len(steps))), output]
        return [
            helper.make_node(kind, [names[k], *constants], [names[k + 1]], **attributes)
            for k, (kind, constants, attributes) in enumerate(steps)
        ]

    def zero_point(self, port: Port) -> str:
        """Return the name of a new constant 0 of the port's type."""
        return self._constant(np.array(0, np.dtype(port.dtype)))

    def _scale(self, port: Port, scale: Scale) -> list[str]:
        zero = np.array(scale.zero, np.dtype(port.dtype))
        return [self._constant(np.array(scale.scale, np.float32)), self._constant(zero)]

    def _constant(self, values: np.ndarray) -> str:
        name = f"{self._prefix}_constant_{sum(len(step[1]) for step in self._steps)}_{values.dtype}"
        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Return the constants of a graph that have one element, by name."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type == "Constant" and values:
            tensors[node.output[0]] = values[0]
    return {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items() if np.prod(tensor.dims) == 1}


def _free_prefix(graph: onnx.GraphProto) -> str:
    """Return a prefix that no name in the graph has, even if the graph was wrapped before."""
    names = {value.name for values in (graph.input, graph.output, graph.initializer) for value in values}
    names |= {name for node in graph.node for name in (*node.input, *node.output)}
    prefix = "outside."
    while any(name.startswith(prefix) for name in names):
        prefix += "outside."
    return prefix


def _walk(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes, and the nodes of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _walk(graph.node)


def _is_random(node: onnx.NodeProto, constants: Mapping[str, Any]) -> bool:
    """Return True if a node's output is random. Dropout counts unless its training mode is known to be off."""
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        return bool(np.any(constants.get(node.input[2], True)))
    return node.op_type in _RANDOM
