"""Quantization of graphs: weights in half precision, or weights and activations in 8 bits."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dawnchorus.arrays import FloatArray
from dawnchorus.models.graphs.onnx_files import load_graph

Precision = Literal["float16", "int8"]

MIN_FLOAT16 = 1024
"""Minimum number of values of a tensor for its conversion."""

_FRONT_ENDS = ("front_end", "acoustic", "spectrum")
"""Parts of the names of front-end nodes, whose values have a larger range than 8 bits can represent."""

_QUANTIZED = ("Conv", "Gemm", "MatMul")


def to_float16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the graph with large weights stored as float16; computation stays in float32.

    A weight is large if it has at least `MIN_FLOAT16` values; tensors with values outside of float16's range stay as
    they are. Runtimes convert the weights to float32 when they load the graph, so that the speed is the same at half
    the file size.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < MIN_FLOAT16:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend([*casts, *nodes])
    return model


def quantize(graph: Path, out: Path, windows: Iterable[FloatArray]) -> None:
    """Write a copy of a graph with 8-bit weights and activations after its front end.

    The front end, which stays in float32, computes the spectrogram. It is the layers before the first two-dimensional
    convolution; in a graph without such a convolution, the nodes with "front_end", "acoustic" or "spectrum" in their
    names, as in models that were trained here.

    Args:
        graph: path of the graph, whose only input is `waveform` [batch, samples].
        out: path of the new graph; an existing file is replaced.
        windows: some dozens of windows [samples] of real recordings, from which the range of each activation is
            measured.

    Raises:
        InvalidBundleError: the file is not an ONNX model, or refers to other files.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Windows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[FloatArray] = iter(windows)

        def get_next(self) -> dict[str, FloatArray] | None:
            window = next(self._left, None)
            return None if window is None else {"waveform": window[np.newaxis]}

    model = _name_nodes(load_graph(graph))
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(scratch, "named.onnx")
        onnx.save(model, path)
        quantize_static(
            path,
            out,
            Windows(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_exclude=_front_end(model),
        )


def _name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every node a name, since nodes are excluded by name, and return the model."""
    for k, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{k}"
    return model


def _front_end(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes before the first two-dimensional convolution.

    In a graph without such a convolution, they are the nodes with the names of our front ends.
    """
    images = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 4}
    images |= {node.output[0] for node in model.graph.node if node.op_type == "Cast" and node.input[0] in images}
    behind: set[str] = set()
    before: list[str] = []
    for node in model.graph.node:  # in the order in which they can be computed
        is_first = node.op_type == "Conv" and node.input[1] in images
        if is_first or behind.intersection(node.input):
            behind.update(node.output)
        else:
            before.append(node.name)
    if behind:
        return before
    return [node.name for node in model.graph.node if any(name in node.name for name in _FRONT_ENDS)]
