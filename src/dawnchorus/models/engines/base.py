"""Protocol of inference engines: a graph is loaded from its file, and run on arrays by input and output names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import ModelError

FLOATS = frozenset(("float16", "float32", "float64"))
QUANTIZED = frozenset(("int8", "uint8", "int16", "uint16"))

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scale:
    """Quantization of integers: value = `scale` * (integer - `zero`)."""

    scale: float
    """Difference in value between neighboring integers."""
    zero: int
    """Integer that stands for the value 0."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: name in the graph.
        dtype: NumPy's name of the element type; another text for a value that is not a tensor.
        shape: size of each axis; None for any size.
        scale: quantization of integers; None for numbers that are not quantized.
        alias: second name of the port, in the signature of a TFLite file; may be empty.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scale: Scale | None = None
    alias: str = ""

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes}] {self.dtype}"

    @property
    def is_convertible(self) -> bool:
        """True if values of the port's type can be converted from and to float32.

        These are floating-point types, and quantized integers with a `scale`.
        """
        return self.dtype in FLOATS or (self.dtype in QUANTIZED and self.scale is not None)

    def encode(self, values: FloatArray) -> Array:
        """Convert float32 values of any shape to the port's type.

        For a quantized port, the values are quantized, and clipped to the range of the integer type.
        """
        if self.scale is None:
            return np.asarray(values, self.dtype)
        limits = np.iinfo(self.dtype)
        whole = np.round(values / self.scale.scale) + self.scale.zero
        return np.asarray(np.clip(whole, limits.min, limits.max), self.dtype)

    def decode(self, values: Array) -> FloatArray:
        """Convert values of the port's type, of any shape, to float32; those of a quantized port are dequantized."""
        decoded = np.asarray(values, np.float32)
        return decoded if self.scale is None else (decoded - self.scale.zero) * np.float32(self.scale.scale)

    def is_named(self, name: str) -> bool:
        """Return True if `name`, which must not be empty, is the port's name or alias."""
        return name in (self.name, self.alias)


class LoadedGraph(Protocol):
    """Protocol of a loaded graph; thread-safe."""

    @property
    def inputs(self) -> Sequence[Port]:
        """Inputs in file order, with unique names; their batch size is 1 if the engine runs one window at a time."""
        ...

    @property
    def outputs(self) -> Sequence[Port]:
        """Outputs in file order, with unique names."""
        ...

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Any]:
        """Run the graph, and return the named outputs in the order of `outputs`.

        Args:
            inputs: array of each input, by the input's name, with the type and shape of its `Port`.
            outputs: names of the outputs to return.

        Returns:
            An array for each output; another object for an output that is not a tensor.

        Raises:
            ModelError: the arrays have wrong names, types or shapes, or the computation fails.
        """
        ...


def check_inputs(path: Path, ports: Sequence[Port], inputs: Mapping[str, Array]) -> None:
    """Check the arrays for a graph, for engines that do not check them.

    Args:
        path: file of the graph, for the error message.
        ports: inputs of the graph.
        inputs: array of each input, by the input's name.

    Raises:
        ModelError: the names, types or shapes of the arrays differ from those of the graph's inputs.
    """
    if inputs.keys() != {port.name for port in ports} or not all(_fits(port, inputs[port.name]) for port in ports):
        expected = ", ".join(map(str, ports))
        given = ", ".join(f"{name} {list(values.shape)} {values.dtype}" for name, values in inputs.items())
        raise ModelError(f"the graph does not run: expected {expected}, got {given or 'nothing'}.", subject=path)


def _fits(port: Port, values: Array) -> bool:
    sizes = zip(port.shape, values.shape, strict=False)
    is_shaped = len(port.shape) == values.ndim and all(own in (None, size) for own, size in sizes)
    return is_shaped and values.dtype == port.dtype


class OpenGraph(Protocol):
    """Function `open(path, n_threads=n)` that loads a graph from a file; each run uses up to `n_threads` threads.

    The function raises `InvalidBundleError` for a file that it cannot load, and `MissingExtraError` if the engine's
    library is not installed.
    """

    def __call__(self, path: Path, *, n_threads: int) -> LoadedGraph:
        """Load a graph from its file; each run uses up to `n_threads` threads.

        Raises:
            InvalidBundleError: the file is damaged, or has operators that the engine does not support.
            MissingExtraError: the engine's library is not installed.
        """
        ...


@dataclass(frozen=True)
class Engine:
    """An inference library, such as ONNX Runtime.

    Args:
        name: name of the engine in lower case, as users type it.
        summary: a phrase for lists of engines.
        suffixes: suffixes of the files that the engine reads, with dot.
        package: import name of the library.
        open: function that loads a graph.
    """

    name: str
    summary: str
    suffixes: tuple[str, ...]
    package: str
    open: OpenGraph
