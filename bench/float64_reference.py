"""BirdNET with its scaling and front ends in double precision: what both engines would give without rounding errors.

LiteRT scales the samples and multiplies them by a window in single precision. In bands that hold nothing else (most of
all above the cut-off of sound that was resampled or coded) the traces of that rounding are what remains, and the
model's exponents (about 0.2) raise them. So the engines differ most there, and only a third computation can tell which
one is nearer to the model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from dawnchorus.arrays import FloatArray
from dawnchorus.models.catalog import birdnet_graph
from dawnchorus.models.graphs.tflite_file import TfliteFile
from dawnchorus.models.runner import apply_activation

EPSILON = 1e-6
"""Added to a window's range before it is divided by it, in the published graph."""


class ExactBirdnet:
    """The published TFLite file `source`, converted into `scratch`; `scores` is slow."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self._branches, _ = birdnet_graph._Converter(TfliteFile(source)).read_branches()
        birdnet_graph.convert_birdnet(source, scratch / "whole.onnx")
        self._session = onnxruntime.InferenceSession(_behind_the_bands(onnx.load(scratch / "whole.onnx")))
        self._inputs = [value.name for value in self._session.get_inputs()]

    def scores(self, window: FloatArray) -> FloatArray:
        """Return a window [samples] to scores [classes]."""
        lifted = window.astype(np.float64) - window.min()
        scaled = (lifted / (lifted.max() + EPSILON) - 0.5) * 2
        bands = {}
        for name, branch in zip(self._inputs, self._branches, strict=True):
            frames = np.lib.stride_tricks.sliding_window_view(scaled, branch.kernel.shape[1])
            bands[name] = (frames[:: branch.hop] @ branch.kernel.T).T[np.newaxis].astype(np.float32)
        scores: FloatArray = apply_activation(self._session.run(["logits"], bands)[0], "sigmoid")[0]
        return scores


def _behind_the_bands(model: onnx.ModelProto) -> bytes:
    """Return the part of the graph from the two bands' magnitudes on."""
    bands = [node.input[0] for node in model.graph.node if node.op_type == "Abs"]
    needed, nodes = {"logits"}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(name for name in node.input if name not in bands)
    graph = helper.make_graph(
        nodes[::-1],
        "backbone",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in bands],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        initializer=[tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    part: bytes = helper.make_model(graph, opset_imports=model.opset_import, ir_version=8).SerializeToString()
    return part
