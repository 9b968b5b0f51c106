"""Conversion of BirdNET's range model from TFLite to ONNX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tflite

from dawnchorus.errors import ModelError
from dawnchorus.models.graphs.onnx_writer import OnnxWriter
from dawnchorus.models.graphs.tflite_file import Operator, TfliteFile

_BINARY = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "GREATER": "Greater", "LESS": "Less"}
_UNARY = {"SIN": "Sin", "LOGISTIC": "Sigmoid"}


def convert_range_model(source: Path, out_path: Path) -> None:
    """Convert the TFLite file of BirdNET's range model at `source` to ONNX, and write the graph to `out_path`.

    The graph has the input `location` float32 [batch, 3] (latitude, longitude, week 1 to 48, or -1 for no week), and
    the output `probabilities` [batch, classes].

    Raises:
        ModelError: the file is not TFLite, or has an operator that the converter does not know.
    """
    model, onnx = TfliteFile(source), OnnxWriter()
    names = {model.inputs[0]: "location"}

    def get_name(tensor: int) -> str:
        if tensor not in names:
            stored = model.constant(tensor)
            if stored is None:
                raise ModelError(f"tensor {tensor} is neither stored nor computed.", subject=source)
            names[tensor] = onnx.constant(stored)
        return names[tensor]

    for operator in model.operators:
        names[operator.outputs[0]] = _convert(model, onnx, operator, get_name)
    onnx.node("Identity", [names[model.outputs[0]]], output="probabilities")
    onnx.save(
        out_path,
        inputs={"location": ("batch", model.shape(model.inputs[0])[1])},
        outputs={"probabilities": ("batch", model.shape(model.outputs[0])[1])},
    )


def _convert(  # noqa: PLR0911 - one return per operator
    model: TfliteFile, onnx: OnnxWriter, operator: Operator, get_name: Callable[[int], str]
) -> str:
    kind, inputs = operator.name, operator.inputs
    if kind == "DEQUANTIZE":
        weights = model.constant(inputs[0])
        if weights is None:
            raise ModelError("DEQUANTIZE of something that is not constant.", subject=model.path)
        return onnx.constant(weights)
    if kind in _BINARY:
        return onnx.node(_BINARY[kind], [get_name(t) for t in inputs])
    if kind in _UNARY:
        return onnx.node(_UNARY[kind], [get_name(inputs[0])])
    if kind == "SELECT_V2":
        return onnx.node("Where", [get_name(t) for t in inputs])
    if kind == "EXPAND_DIMS":
        return onnx.node("Unsqueeze", [get_name(inputs[0]), _whole(onnx, [1])])
    if kind == "STRIDED_SLICE":
        # Column k of the input: begin [0, k], end [0, k + 1], the column axis dropped.
        start, end = model.constant(inputs[1]), model.constant(inputs[2])
        if start is None or end is None or end[1] - start[1] != 1:
            raise ModelError("STRIDED_SLICE that is not one column.", subject=model.path)
        column = onnx.node("Gather", [get_name(inputs[0]), _whole(onnx, [start[1]])], axis=1)
        return onnx.node("Squeeze", [column, _whole(onnx, [1])])
    if kind == "CONCATENATION":
        return onnx.node("Concat", [get_name(t) for t in inputs], axis=1)
    if kind == "FULLY_CONNECTED":
        name = onnx.node("Gemm", [get_name(t) for t in inputs], transB=1)
        code = operator.options(tflite.FullyConnectedOptions).FusedActivationFunction()
        return onnx.node("Relu", [name]) if code == tflite.ActivationFunctionType.RELU else name
    raise ModelError(f"no conversion is known for the operator {kind}.", subject=model.path)


def _whole(onnx: OnnxWriter, values: list[int]) -> str:
    return onnx.constant(values, dtype=np.int64)
