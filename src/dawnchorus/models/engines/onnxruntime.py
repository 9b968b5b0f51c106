"""ONNX graphs, run by onnxruntime on the CPU.

`dawnchorus.privacy` turns off onnxruntime's usage statistics, which has an effect only before onnxruntime is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from dawnchorus.errors import InvalidBundleError, ModelError
from dawnchorus.models.engines.base import Array, Engine, Port

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}

_FATAL = 4
"""Log level at which only fatal errors are logged; all other errors are raised."""

_NO_MEMORY = ("Failed to allocate memory", "bad allocation", "bad_alloc")


class OnnxGraph:
    """An ONNX graph in an ONNX Runtime session; implements `base.LoadedGraph`.

    Args:
        path: file of the graph.
        n_threads: maximum number of threads of a run.

    Raises:
        InvalidBundleError: the file cannot be loaded.
    """

    def __init__(self, path: Path, *, n_threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base below Exception
            raise InvalidBundleError(f"cannot be loaded: {_reason(error, path)}", subject=path) from error
        self._path = path
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Any]:
        """Run the graph, and return the named outputs in the order of `outputs`; see `LoadedGraph.run`.

        Raises:
            ModelError: the arrays have wrong names, types or shapes, or the computation fails.
        """
        try:
            values: list[Any] = self._session.run(outputs, dict(inputs))
        except Exception as error:  # as above
            raise ModelError(f"the graph does not run: {_reason(error, self._path)}", subject=self._path) from error
        return values


def _reason(error: Exception, path: Path) -> str:
    """Return the first line of an error without the graph's folder, or advice if there was not enough memory."""
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return "there is not enough memory. Close other programs, or use a smaller model."
    return text.partition("\n")[0].replace(str(path), path.name)


def _port(info: Any) -> Port:
    kind = str(info.type)
    dtype = _DTYPES.get(kind, kind.removeprefix("tensor(").removesuffix(")"))
    sizes = [size if isinstance(size, int) and size > 0 else None for size in info.shape or ()]
    return Port(str(info.name), dtype, tuple(sizes) if info.shape else (None, None))


ONNXRUNTIME = Engine(
    name="onnxruntime",
    summary="ONNX graphs on the CPU",
    suffixes=(".onnx",),
    package="onnxruntime",
    open=OnnxGraph,
)
