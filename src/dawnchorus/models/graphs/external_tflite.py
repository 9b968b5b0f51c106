"""TFLite graphs from other programs, which are copied into a bundle unchanged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from dawnchorus.models.bundle import OutputName
from dawnchorus.models.engines.registry import open_graph
from dawnchorus.models.graphs.ports import Chosen, find_layout, measure_outputs
from dawnchorus.models.graphs.tflite_file import TfliteFile

_OPERATORS = {"LOGISTIC": "Sigmoid", "SOFTMAX": "Softmax", "LOG_SOFTMAX": "LogSoftmax", "TANH": "Tanh", "LOG": "Log"}
"""Names in ONNX of TFLite operators."""
_PASSING = frozenset(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "QUANTIZE", "DEQUANTIZE"))


_RANDOM = frozenset(("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "MULTINOMIAL"))


class ExternalTflite:
    """A TFLite graph from another program with one input.

    Args:
        path: file of the graph.
        window_samples: number of samples in a window.
        engine: name of the engine that runs the graph; None for the first engine that reads the file.

    Attributes:
        outputs: outputs of the graph in file order, with their shapes for `n_windows` windows.
        n_windows: number of windows in the run that measured the shapes.

    Raises:
        InvalidBundleError: the graph cannot be loaded.
        MissingExtraError: LiteRT is not installed.
        ModelError: the graph has no input for waveforms of `window_samples` samples, or does not run.
    """

    file_name: Literal["model.tflite"] = "model.tflite"
    """Name of the graph's file in a bundle."""

    def __init__(self, path: Path, window_samples: int, *, engine: str | None = None) -> None:
        self._path = path
        graph = open_graph(path, engine=engine)
        layout = find_layout(path, graph.inputs, window_samples).with_batch(1)
        self.n_windows = layout.batch or 1
        self.outputs = measure_outputs(graph, layout, given=graph.inputs[0])

    def last_operator(self, position: int) -> str:
        """Return the type of the operator that computes the output at `position` in `outputs`.

        The type is named as in ONNX if ONNX has the operator ("Sigmoid", not "LOGISTIC"). Reshapes, casts and
        (de)quantization are skipped. Empty if no operator computes the output.

        Raises:
            ModelError: the file is not a TFLite model.
        """
        file = TfliteFile(self._path)
        producers = {tensor: operator for operator in file.operators for tensor in operator.outputs}
        operator = producers.get(file.outputs[position])
        while operator is not None and operator.name in _PASSING:
            operator = producers.get(operator.inputs[0])
        return "" if operator is None else _OPERATORS.get(operator.name, operator.name)

    def random_operators(self) -> list[str]:
        """Return the TFLite names of operators that draw random numbers, such as "MULTINOMIAL", without repetition.

        Raises:
            ModelError: the file is not a TFLite model.
        """
        return list(dict.fromkeys(each.name for each in TfliteFile(self._path).operators if each.name in _RANDOM))

    def save(self, folder: Path, chosen: Chosen) -> dict[OutputName, int]:
        """Copy the graph to `folder`, and return the positions of the `chosen` outputs in `outputs`, by their role.

        The result is the value of `BundleDescription.graph_outputs`.
        """
        shutil.copyfile(self._path, folder / self.file_name)
        positions: dict[OutputName, int] = {"logits": self.outputs.index(chosen.scores)}
        if chosen.embeddings is not None:
            positions["embeddings"] = self.outputs.index(chosen.embeddings)
        return positions
