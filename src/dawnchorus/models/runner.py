"""Inference sessions of a bundle: waveforms in, scores out, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InvalidBundleError
from dawnchorus.models.bundle import Activation, Bundle, Calibration
from dawnchorus.models.engines.base import LoadedGraph, Port
from dawnchorus.models.engines.registry import open_graph
from dawnchorus.models.graphs.ports import Layout, choose_outputs, find_layout, measure_outputs

BATCH_WINDOWS = 8
"""Number of windows in one call of a session; larger batches are not faster on a CPU."""


N_TIMED = 9


@dataclass(frozen=True)
class GraphOutput:
    """Outputs of a graph for n windows: logits [n, classes] and, if requested and available, embeddings [n, dim]."""

    logits: FloatArray
    """Logits [n, classes]."""
    embeddings: FloatArray | None
    """Embeddings [n, dim]; None if they were not requested, or the graph has none."""


def milliseconds(bundle: Bundle, *, audio_s: float = 5.0) -> float:
    """Return the computing time in milliseconds for `audio_s` seconds of audio on one core.

    The time of one window is measured `N_TIMED` times, and the median is multiplied by `audio_s` / window length.

    Raises:
        InvalidBundleError, MissingExtraError: see `open_session`.
        ModelError: the computation fails.
    """
    session = open_session(bundle)
    window = np.random.default_rng(1).normal(0, 0.05, (1, bundle.window_samples)).astype(np.float32)
    session.run(window)
    elapsed_s = []
    for _ in range(N_TIMED):
        start_s = time.perf_counter()
        session.run(window)
        elapsed_s.append(time.perf_counter() - start_s)
    return 1000 * statistics.median(elapsed_s) * audio_s / bundle.info.window_s


class Session(Protocol):
    """Protocol of a loaded graph; not thread-safe."""

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> GraphOutput:
        """Run the graph on windows [n, samples], float32, of which there must be at least one.

        Embeddings are computed only if `embeddings` is True and the graph has them.

        Raises:
            ModelError: the windows have another length than the graph expects, or the computation fails.
        """
        ...


def open_session(bundle: Bundle, *, tta_shifts: int = 1) -> Session:
    """Open a session that runs the bundle's graph on one thread.

    With `tta_shifts` above 1 (test-time augmentation), logits and embeddings are means over that many circular time
    shifts of each window, by equal fractions of its length.

    Raises:
        InvalidBundleError: the graph cannot be loaded, does not match bundle.json, or no installed engine reads it.
        MissingExtraError: the engine's library is not installed.
    """
    session: Session = _GraphSession(bundle)
    return session if tta_shifts == 1 else _TtaSession(session, tta_shifts)


def apply_activation(logits: FloatArray, activation: Activation) -> FloatArray:
    """Convert logits [n, classes] to scores [n, classes] by `activation`: "sigmoid", "softmax" or "identity"."""
    return _ACTIVATIONS[activation](logits)


def log_odds(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return log(score / (1 - score)) of scores of any shape, which are first clipped to 1e-9 ... 1 - 1e-9."""
    inside = np.clip(np.asarray(scores, np.float64), 1e-9, 1 - 1e-9)
    odds: npt.NDArray[np.float64] = np.log(inside / (1 - inside))
    return odds


def apply_calibration(scores: npt.NDArray[np.floating], calibration: Calibration) -> npt.NDArray[np.float64]:
    """Convert scores of any shape to probabilities, in float64, by `calibration`."""
    return 1 / (1 + np.exp(-(calibration.scale * log_odds(scores) + calibration.offset)))


def _sigmoid(logits: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf is the right score
        scores: FloatArray = np.reciprocal(1 + np.exp(-logits), dtype=np.float32)
    return scores


def _softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return scores


def _identity(logits: FloatArray) -> FloatArray:
    return logits


_ACTIVATIONS: dict[Activation, Callable[[FloatArray], FloatArray]] = {
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "identity": _identity,
}


@dataclass(frozen=True)
class _GraphPorts:
    """Input and outputs of a bundle's graph."""

    waveform: Port
    layout: Layout
    logits: Port
    embeddings: Port | None


def _find_ports_by_name(bundle: Bundle, graph: LoadedGraph) -> _GraphPorts:
    """Return the input and outputs of an ONNX graph, which have fixed names in a bundle.

    Raises:
        InvalidBundleError: the graph does not match bundle.json.
    """
    inputs, outputs = ({port.name: port for port in ports} for ports in (graph.inputs, graph.outputs))
    if list(inputs) != ["waveform"] or "logits" not in outputs:
        raise InvalidBundleError(
            f"expected the input 'waveform' and the output 'logits', "
            f"found {list(inputs)} and {list(outputs)}. Wrap outside models with `dawnchorus models wrap`.",
            subject=bundle.graph_path,
        )
    n_classes, n_samples = (port.shape[-1] for port in (outputs["logits"], inputs["waveform"]))
    if n_classes != len(bundle.labels):
        raise InvalidBundleError(
            f"the graph has {n_classes} classes, labels.csv has {len(bundle.labels)}.", subject=bundle.folder
        )
    if n_samples not in (bundle.window_samples, None):
        raise InvalidBundleError(
            f"the graph takes {n_samples} samples, bundle.json says {bundle.window_samples}.", subject=bundle.folder
        )
    layout = find_layout(bundle.graph_path, graph.inputs, bundle.window_samples)
    return _GraphPorts(inputs["waveform"], layout, outputs["logits"], outputs.get("embeddings"))


def _find_ports_by_position(bundle: Bundle, graph: LoadedGraph) -> _GraphPorts:
    """Return the input and outputs of a graph that is stored unchanged; bundle.json has the positions of its outputs.

    Raises:
        ModelError: the graph does not match bundle.json.
    """
    path = bundle.graph_path
    layout = find_layout(path, graph.inputs, bundle.window_samples)
    (waveform,) = graph.inputs
    if bundle.info.graph_outputs is None:
        ports = measure_outputs(graph, layout.with_batch(1), given=waveform)
        n_classes = len(bundle.labels)
        chosen = choose_outputs(path, ports, n_windows=layout.batch or 1, n_classes=n_classes)
        return _GraphPorts(waveform, layout, chosen.scores, None)
    named = {name: graph.outputs[position] for name, position in bundle.info.graph_outputs.items()}
    return _GraphPorts(waveform, layout, named["logits"], named.get("embeddings"))


class _GraphSession:
    def __init__(self, bundle: Bundle) -> None:
        self._graph = open_graph(bundle.graph_path, engine=bundle.info.engine)
        find_ports = _find_ports_by_name if bundle.info.graph == "model.onnx" else _find_ports_by_position
        self._ports = find_ports(bundle, self._graph)

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> GraphOutput:
        ports = [self._ports.logits]
        if embeddings and self._ports.embeddings is not None:
            ports.append(self._ports.embeddings)
        size = self._ports.layout.batch or max(len(windows), 1)
        batches = [self._run_batch(windows[k : k + size], size, ports) for k in range(0, len(windows), size)]
        outputs = [each[0] if len(each) == 1 else np.concatenate(each) for each in zip(*batches, strict=True)]
        return GraphOutput(outputs[0], outputs[1] if len(outputs) > 1 else None)

    def _run_batch(self, windows: FloatArray, size: int, ports: Sequence[Port]) -> list[FloatArray]:
        """Run a graph that takes exactly `size` windows; missing windows are silence, whose results are dropped."""
        n_missing = size - len(windows)
        filled = np.pad(windows, ((0, n_missing), (0, 0))) if n_missing else windows
        waveform = self._ports.waveform
        given = waveform.encode(filled.reshape(self._ports.layout.shape))
        outputs = self._graph.run({waveform.name: given}, [port.name for port in ports])
        return [
            port.decode(values).reshape(size, -1)[: len(windows)] for port, values in zip(ports, outputs, strict=True)
        ]


class _TtaSession:
    def __init__(self, session: Session, tta_shifts: int) -> None:
        self._session, self._tta_shifts = session, tta_shifts

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> GraphOutput:
        each = [
            self._session.run(
                np.roll(windows, -k * windows.shape[1] // self._tta_shifts, axis=1), embeddings=embeddings
            )
            for k in range(self._tta_shifts)
        ]
        embedded = [output.embeddings for output in each if output.embeddings is not None]
        return GraphOutput(
            np.mean([output.logits for output in each], axis=0), np.mean(embedded, axis=0) if embedded else None
        )
