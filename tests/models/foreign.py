"""One small classifier as the ONNX and TFLite files that strangers might export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

RATE_HZ, N_WINDOW, N_CLASSES = 4_000, 16, 3
WEIGHTS = np.random.default_rng(5).normal(0, 0.5, (N_CLASSES, N_WINDOW)).astype(np.float32)
BIAS = np.array([2, -1, -3], np.float32)
EMBED = np.random.default_rng(6).normal(0, 0.5, (N_CLASSES, N_WINDOW)).astype(np.float32)
OUTPUTS = ("embedding", "label", "spectrogram", "index")
"""In the order of the file; `label` has the scores."""

SCALES = {
    "int8": {"in": (1 / 64, 3), "label": (1 / 16, -4), "embedding": (1 / 16, 0), "sigmoid": (1 / 256, -128)},
    "uint8": {"in": (1 / 64, 131), "label": (1 / 16, 124), "embedding": (1 / 16, 128), "sigmoid": (1 / 256, 0)},
}


@dataclass(frozen=True)
class Foreign:
    """A graph: types of its numbers, windows at once, outputs, and the shape of its input."""

    dtype: str = "float32"
    batch: int | None = None
    n_outputs: int = 1
    has_sigmoid: bool = False
    axes: tuple[int, ...] = (N_WINDOW,)
    """Sizes behind the batch."""
    embedding_name: str = "embedding"

    @property
    def names(self) -> tuple[str, ...]:
        """Outputs in the order of the file."""
        return ("label",) if self.n_outputs == 1 else OUTPUTS[: self.n_outputs]

    def scale(self, name: str) -> tuple[float, int] | None:
        """Return scale and zero point of a quantised port."""
        found = SCALES.get(self.dtype)
        return None if found is None else found["sigmoid" if name == "label" and self.has_sigmoid else name]

    def write(self, path: Path) -> Path:
        """Write the graph in the format of the file's name."""
        if path.suffix == ".onnx":
            onnx.save(_onnx_model(self), path)
        else:
            path.write_bytes(_tflite_model(self))
        return path

    def reference(self, windows: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float64]]:
        """Return scores and embeddings in double precision."""
        logits = windows @ WEIGHTS.T.astype(float) + BIAS
        scores = 1 / (1 + np.exp(-logits)) if self.has_sigmoid else logits
        return {"label": scores, "embedding": windows @ EMBED.T.astype(float)}


def _onnx_model(foreign: Foreign) -> onnx.ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(foreign.dtype))
    is_quantised = foreign.dtype in SCALES
    real = TensorProto.FLOAT if is_quantised else kind
    real_dtype = helper.tensor_dtype_to_np_dtype(real)
    constants: dict[str, Any] = {"w": WEIGHTS.T, "e": EMBED.T, "b": BIAS}
    constants = {name: np.asarray(values, real_dtype) for name, values in constants.items()}
    constants |= {"flat": np.array([-1, N_WINDOW]), "picture": np.array([-1, 4, 4])}
    nodes = []

    def add(op: str, inputs: list[str], output: str, **options: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **options))
        return output

    def scaled(op: str, source: str, target: str, name: str) -> str:
        scale, zero = foreign.scale(name) or (1.0, 0)
        constants[f"{name}_scale"] = np.array(scale, np.float32)
        constants[f"{name}_zero"] = np.array(zero, foreign.dtype)
        return add(op, [source, f"{name}_scale", f"{name}_zero"], target)

    sound = scaled("DequantizeLinear", "sound", "real_sound", "in") if is_quantised else "sound"
    flat = add("Reshape", [sound, "flat"], "flat_sound")
    last = "label_real" if is_quantised else "label"
    add("Gemm", [flat, "w", "b"], "sums" if foreign.has_sigmoid else last)
    if foreign.has_sigmoid:
        add("Sigmoid", ["sums"], last)
    embedding = add("MatMul", [flat, "e"], "embedding_real" if is_quantised else foreign.embedding_name)
    if is_quantised:
        scaled("QuantizeLinear", last, "label", "label")
        scaled("QuantizeLinear", embedding, "embedding", "embedding")
    add("Reshape", [flat, "picture"], "spectrogram")
    add("ArgMax", [last], "index", axis=1, keepdims=0)
    batch = foreign.batch or "n"
    shapes = {
        "label": (kind, [batch, N_CLASSES]),
        "embedding": (kind, [batch, N_CLASSES]),
        "spectrogram": (real, [batch, 4, 4]),
        "index": (TensorProto.INT64, [batch]),
    }
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("sound", kind, [batch, *foreign.axes])],
        [
            helper.make_tensor_value_info(foreign.embedding_name if name == "embedding" else name, *shapes[name])
            for name in foreign.names
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class _TfliteGraph:
    """Tensors and operators of a file, which is written as FlatBuffers' own classes of the format."""

    def __init__(self, foreign: Foreign) -> None:
        from ai_edge_litert import schema_py_generated

        self.schema: Any = schema_py_generated
        self.foreign, self.batch = foreign, foreign.batch or 1
        self.model, self.graph = self.schema.ModelT(), self.schema.SubGraphT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [self.schema.BufferT()], []
        self.graph.tensors, self.graph.operators, self.model.subgraphs = [], [], [self.graph]

    def tensor(self, name: str, dtype: str, shape: list[int], *, data: Any = None, is_scaled: bool = False) -> int:
        """Add a tensor; of constants with their values."""
        new = self.schema.TensorT()
        new.name, new.type, new.buffer = name, getattr(self.schema.TensorType, dtype.upper()), 0
        new.shape = shape if data is not None else [self.batch, *shape]
        if self.foreign.batch is None and data is None:
            new.shapeSignature = [-1, *shape]
        if data is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            new.buffer = len(self.model.buffers) - 1
        scale = self.foreign.scale(name) if is_scaled else None
        if scale is not None:
            new.quantization = self.schema.QuantizationParametersT()
            new.quantization.scale, new.quantization.zeroPoint = [scale[0]], [scale[1]]
        self.graph.tensors.append(new)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: Any) -> int:
        """Add a constant."""
        array = np.asarray(values)
        array = array.astype(np.int32) if array.dtype == np.int64 else array
        return self.tensor(name, array.dtype.name, list(array.shape), data=array)

    def add(self, op: str, inputs: list[int], output: int, options: Any = None, **fields: Any) -> int:
        """Add an operator, with the fields of its options."""
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, op)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        self.model.operatorCodes.append(code)
        new = self.schema.OperatorT()
        new.opcodeIndex, new.inputs, new.outputs = len(self.model.operatorCodes) - 1, inputs, [output]
        if options is not None:
            new.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            new.builtinOptions = options
            vars(options).update(fields)
        self.graph.operators.append(new)
        return output

    def dense(self, source: int, name: str, weights: Any, bias: Any) -> int:
        """Add a layer."""
        inputs = [source, self.constant(f"{name}_w", weights), self.constant(f"{name}_b", bias)]
        target = self.tensor(name, "float32", [len(weights)])
        return self.add("FULLY_CONNECTED", inputs, target, self.schema.FullyConnectedOptionsT())

    def given(self, source: int, name: str) -> int:
        """Convert what was computed into the type of the outputs."""
        dtype = self.foreign.dtype
        if dtype == "float32":
            return source
        target = self.tensor(name, dtype, [N_CLASSES], is_scaled=True)
        if dtype in SCALES:
            return self.add("QUANTIZE", [source], target)
        kinds = self.schema.TensorType
        options = self.schema.CastOptionsT()
        return self.add("CAST", [source], target, options, inDataType=kinds.FLOAT32, outDataType=kinds.FLOAT16)

    def content(self, inputs: list[int], outputs: list[int]) -> bytes:
        """Return the file."""
        import flatbuffers

        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder()
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _tflite_model(foreign: Foreign) -> bytes:
    graph = _TfliteGraph(foreign)
    sound = source = graph.tensor("in", foreign.dtype, list(foreign.axes), is_scaled=True)
    if foreign.dtype != "float32":
        source = graph.add("DEQUANTIZE", [sound], graph.tensor("real_sound", "float32", list(foreign.axes)))
    flat = graph.tensor("flat_sound", "float32", [N_WINDOW])
    graph.add("RESHAPE", [source, graph.constant("flat", [-1, N_WINDOW])], flat)
    is_real, real_name = foreign.dtype == "float32", "label" if foreign.dtype == "float32" else "label_real"
    scores = graph.dense(flat, "sums" if foreign.has_sigmoid else real_name, WEIGHTS, BIAS)
    if foreign.has_sigmoid:
        scores = graph.add("LOGISTIC", [scores], graph.tensor(real_name, "float32", [N_CLASSES]))
    embedding_name = foreign.embedding_name if is_real else "embedding_real"
    embedding = graph.dense(flat, embedding_name, EMBED, np.zeros(N_CLASSES, np.float32))
    picture = graph.tensor("spectrogram", "float32", [4, 4])
    made = {
        "label": graph.given(scores, "label"),
        "embedding": graph.given(embedding, "embedding"),
        "spectrogram": graph.add("RESHAPE", [flat, graph.constant("picture", [-1, 4, 4])], picture),
    }
    best = graph.tensor("index", "int32", [])
    options = graph.schema.ArgMaxOptionsT()
    kind = graph.schema.TensorType.INT32
    made["index"] = graph.add("ARG_MAX", [scores, graph.constant("axis", [1])], best, options, outputType=kind)
    return graph.content([sound], [made[name] for name in foreign.names])
