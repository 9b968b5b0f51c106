"""TFLite graphs, run by LiteRT."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus.errors import InvalidBundleError, MissingExtraError, ModelError
from dawnchorus.models.engines.base import Array, Engine, Port, Scale, check_inputs


class LiteRtGraph:
    """A TFLite graph in a LiteRT interpreter; implements `base.LoadedGraph`.

    Args:
        path: file of the graph.
        n_threads: maximum number of threads of a run.

    Raises:
        InvalidBundleError: the file cannot be loaded.
        MissingExtraError: LiteRT is not installed.
    """

    def __init__(self, path: Path, *, n_threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise MissingExtraError("ai-edge-litert", extra="litert", purpose=f"The TFLite model {path}") from None
        self._path, self._lock = path, threading.Lock()
        try:
            self._interpreter = Interpreter(str(path), num_threads=n_threads)
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            self.inputs = tuple(_one_window(port) for port in _ports(inputs, {}))
            self._inputs = {port.name: int(each["index"]) for port, each in zip(self.inputs, inputs, strict=True)}
            self._shapes: dict[str, tuple[int | None, ...]] = {}
            self._resize({port.name: port.shape for port in self.inputs})
            self.outputs = tuple(_ports(outputs, _signature_names(self._interpreter)))
            self._outputs = {port.name: int(each["index"]) for port, each in zip(self.outputs, outputs, strict=True)}
        except (MemoryError, RuntimeError, ValueError) as error:
            reason = str(error).replace(str(path), path.name)
            raise InvalidBundleError(f"cannot be loaded: {reason}", subject=path) from error

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Any]:
        """Run the graph, and return the named outputs as arrays, in the order of `outputs`; see `LoadedGraph.run`.

        Raises:
            ModelError: the arrays have wrong names, types or shapes, or the computation fails.
        """
        check_inputs(self._path, self.inputs, inputs)  # a graph that was given a wrong size would keep it
        with self._lock:
            try:
                self._resize({name: values.shape for name, values in inputs.items()})
                for name, values in inputs.items():
                    self._interpreter.set_tensor(self._inputs[name], values)
                self._interpreter.invoke()
            except (MemoryError, RuntimeError, ValueError) as error:
                raise ModelError(f"the graph does not run: {error}", subject=self._path) from error
            return [self._interpreter.get_tensor(self._outputs[name]) for name in outputs]

    def _resize(self, shapes: dict[str, tuple[int | None, ...]]) -> None:
        """Allocate tensors for inputs of these shapes, unless they are allocated already or a size is unknown."""
        if shapes == self._shapes or any(None in shape for shape in shapes.values()):
            return
        self._shapes = {}
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self._inputs[name], shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _signature_names(interpreter: Any) -> dict[int, str]:
    """Return the output names in the file's signature by tensor index; empty unless there is exactly one signature."""
    signatures = list(interpreter.get_signature_list())
    if len(signatures) != 1:
        return {}
    details = interpreter.get_signature_runner(signatures[0]).get_output_details()
    return {int(detail["index"]): str(name) for name, detail in details.items()}


def _ports(details: Sequence[Mapping[str, Any]], aliases: Mapping[int, str]) -> list[Port]:
    """Return the ports; a repeated name gets its position appended, since a file may repeat names."""
    ports: dict[str, Port] = {}
    for position, detail in enumerate(details):
        name = detail["name"] if detail["name"] not in ports else f"{detail['name']}:{position}"
        ports[name] = _port(name, detail, aliases.get(int(detail["index"]), ""))
    return list(ports.values())


def _port(name: str, detail: Mapping[str, Any], alias: str) -> Port:
    scales, zeros = (detail["quantization_parameters"][key] for key in ("scales", "zero_points"))
    is_scaled = len(scales) == 1 and scales[0] > 0
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return Port(
        name=name,
        dtype=np.dtype(detail["dtype"]).name,
        shape=tuple(int(size) if size >= 0 else None for size in shape),
        scale=Scale(float(scales[0]), int(zeros[0])) if is_scaled else None,
        alias=alias,
    )


def _one_window(port: Port) -> Port:
    """Return the port with a batch of 1 if the batch is free, since graphs are often converted for one window only."""
    has_free_batch = len(port.shape) > 1 and port.shape[0] is None
    return replace(port, shape=(1, *port.shape[1:])) if has_free_batch else port


LITERT = Engine(
    name="litert",
    summary="TFLite graphs on the CPU (extra [litert])",
    suffixes=(".tflite",),
    package="ai_edge_litert",
    open=LiteRtGraph,
)
