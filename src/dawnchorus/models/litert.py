"""TFLite graphs, run by LiteRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InvalidBundleError, MissingExtraError, ModelError
from dawnchorus.models.graphs.ports import Port, Scale, find_layout, with_measured_width
from dawnchorus.models.graphs.tflite_file import TfliteFile

_OPERATORS = {"LOGISTIC": "Sigmoid", "SOFTMAX": "Softmax", "LOG_SOFTMAX": "LogSoftmax", "TANH": "Tanh", "LOG": "Log"}
"""Operators by their names in ONNX."""
_PASSING = frozenset(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "QUANTIZE", "DEQUANTIZE"))


_RANDOM = frozenset(("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "MULTINOMIAL"))


class LiteRtGraph:
    """A loaded TFLite graph with input [batch, window_samples]; not thread-safe.

    Raises:
        InvalidBundleError: it cannot be loaded.
        MissingExtraError: LiteRT is not installed.
        ModelError: it takes no such waveforms.
    """

    def __init__(self, path: Path, window_samples: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise MissingExtraError("ai-edge-litert", extra="litert", purpose=f"The TFLite model {path}") from None
        self._path = path
        try:
            self._interpreter = Interpreter(str(path), num_threads=1)
            details = self._interpreter.get_input_details()
            inputs = [_port(each, {}) for each in details]
            layout = find_layout(path, inputs, window_samples).with_batch(1)
            self._input = inputs[0]
            self.batch = layout.batch or 1
            """Windows in one run."""
            self._shape = layout.shape
            self._index = details[0]["index"]
            if tuple(details[0]["shape"]) != self._shape:
                self._interpreter.resize_tensor_input(self._index, self._shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InvalidBundleError(f"cannot be loaded: {error}", subject=path) from error
        self._details = self._interpreter.get_output_details()
        self._outputs = [_port(each, self._signature_names()) for each in self._details]

    def run(self, windows: FloatArray, positions: Sequence[int]) -> list[FloatArray]:
        """Run `batch` windows, and return the outputs at these positions, each [batch, width]."""
        outputs = zip(positions, self._invoke(windows, positions), strict=True)
        return [self._outputs[k].decode(values).reshape(self.batch, -1) for k, values in outputs]

    def measured_outputs(self, window_samples: int) -> list[Port]:
        """Return the outputs with shapes measured on silence.

        Raises:
            ModelError: the graph does not run.
        """
        outputs = self._invoke(np.zeros((self.batch, window_samples), np.float32), range(len(self._outputs)))
        return [with_measured_width(port, values) for port, values in zip(self._outputs, outputs, strict=True)]

    def last_operator(self, position: int) -> str:
        """Return the ONNX name of the operator that computes the output at `position`."""
        file = TfliteFile(self._path)
        producers = {tensor: operator for operator in file.operators for tensor in operator.outputs}
        operator = producers.get(self._details[position]["index"])
        while operator is not None and operator.name in _PASSING:
            operator = producers.get(operator.inputs[0])
        return "" if operator is None else _OPERATORS.get(operator.name, operator.name)

    def random_operators(self) -> list[str]:
        """Return the names of operators that draw random numbers."""
        return list(dict.fromkeys(each.name for each in TfliteFile(self._path).operators if each.name in _RANDOM))

    def _invoke(self, windows: FloatArray, positions: Sequence[int]) -> list[Any]:
        try:
            self._interpreter.set_tensor(self._index, self._input.encode(windows.reshape(self._shape)))
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"the graph does not run: {error}", subject=self._path) from error
        return [self._interpreter.get_tensor(self._details[k]["index"]).copy() for k in positions]

    def _signature_names(self) -> dict[int, str]:
        """Return the names that a signature gives to outputs, by tensor."""
        signatures = list(self._interpreter.get_signature_list())
        if len(signatures) != 1:
            return {}
        details = self._interpreter.get_signature_runner(signatures[0]).get_output_details()
        return {int(detail["index"]): str(name) for name, detail in details.items()}


def _port(detail: Mapping[str, Any], names: Mapping[int, str]) -> Port:
    scales, zeros = (detail["quantization_parameters"][key] for key in ("scales", "zero_points"))
    is_scaled = len(scales) == 1 and scales[0] > 0
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return Port(
        name=detail["name"],
        dtype=np.dtype(detail["dtype"]).name,
        shape=tuple(int(size) if size >= 0 else None for size in shape),
        scale=Scale(float(scales[0]), int(zeros[0])) if is_scaled else None,
        alias=names.get(int(detail["index"]), ""),
    )
