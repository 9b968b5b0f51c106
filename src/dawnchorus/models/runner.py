"""Inference sessions of a bundle: waveforms in, scores out, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InvalidBundleError
from dawnchorus.models.bundle import Activation, Bundle, Calibration
from dawnchorus.models.graphs.onnx_files import open_onnx_session
from dawnchorus.models.graphs.ports import choose_outputs, run_in_batches

BATCH_WINDOWS = 8
"""Windows in one call of a session; more bring nothing on a CPU."""


N_TIMED = 9


@dataclass(frozen=True)
class Output:
    """Outputs of a graph for n windows: logits [n, classes] and, if it has them, embeddings [n, dim]."""

    logits: FloatArray
    embeddings: FloatArray | None


def milliseconds(bundle: Bundle, *, audio_s: float = 5.0) -> float:
    """Return the median time of the graph for this much audio on one core."""
    session = open_session(bundle)
    window = np.random.default_rng(1).normal(0, 0.05, (1, bundle.window_samples)).astype(np.float32)
    session.run(window)
    took = []
    for _ in range(N_TIMED):
        start_s = time.perf_counter()
        session.run(window)
        took.append(time.perf_counter() - start_s)
    return 1000 * statistics.median(took) * audio_s / bundle.info.window_s


class Session(Protocol):
    """A loaded graph; not thread-safe."""

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> Output:
        """Run the graph on windows [n, samples], float32."""
        ...


def open_session(bundle: Bundle, *, tta_shifts: int = 1) -> Session:
    """Open a session of the bundle's graph for one thread: ONNX Runtime or LiteRT.

    With `tta_shifts` above 1 (test-time augmentation) logits and embeddings are the means over so many circular time
    shifts of every window, by equal fractions of its length.

    Raises:
        InvalidBundleError: the graph cannot be loaded, or does not fit bundle.json.
        MissingExtraError: the graph is a TFLite file and LiteRT is not installed.
    """
    session: Session = _LiteRtSession(bundle) if bundle.info.graph == "model.tflite" else _OnnxSession(bundle)
    return session if tta_shifts == 1 else _TtaSession(session, tta_shifts)


def apply_activation(logits: FloatArray, activation: Activation) -> FloatArray:
    """Apply the bundle's activation to logits [n, classes]."""
    return _ACTIVATIONS[activation](logits)


def log_odds(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return log(score / (1 - score)), clipped to be finite."""
    inside = np.clip(np.asarray(scores, np.float64), 1e-9, 1 - 1e-9)
    odds: npt.NDArray[np.float64] = np.log(inside / (1 - inside))
    return odds


def apply_calibration(scores: npt.NDArray[np.floating], calibration: Calibration) -> npt.NDArray[np.float64]:
    """Apply the bundle's calibration to scores."""
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


class _OnnxSession:
    def __init__(self, bundle: Bundle) -> None:
        self._session = open_onnx_session(bundle.graph_path)
        inputs = {i.name: i.shape for i in self._session.get_inputs()}
        outputs = {o.name: o.shape for o in self._session.get_outputs()}
        if list(inputs) != ["waveform"] or "logits" not in outputs:
            raise InvalidBundleError(
                f"expected the input 'waveform' and the output 'logits', "
                f"found {list(inputs)} and {list(outputs)}. Wrap outside models with `dawnchorus models wrap`.",
                subject=bundle.graph_path,
            )
        if outputs["logits"][-1] != len(bundle.labels):
            raise InvalidBundleError(
                f"the graph has {outputs['logits'][-1]} classes, labels.csv has {len(bundle.labels)}.",
                subject=bundle.folder,
            )
        if inputs["waveform"][-1] not in (bundle.window_samples, None) and not isinstance(inputs["waveform"][-1], str):
            raise InvalidBundleError(
                f"the graph takes {inputs['waveform'][-1]} samples, bundle.json says {bundle.window_samples}.",
                subject=bundle.folder,
            )
        self._has_embeddings = "embeddings" in outputs
        batch = inputs["waveform"][0]
        self._batch = batch if isinstance(batch, int) and batch > 0 else None

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> Output:
        wanted = ["logits"] + (["embeddings"] if embeddings and self._has_embeddings else [])
        outputs = run_in_batches(
            lambda chunk: self._session.run(wanted, {"waveform": chunk}), windows, self._batch or max(len(windows), 1)
        )
        return Output(outputs[0], outputs[1] if len(outputs) > 1 else None)


class _TtaSession:
    def __init__(self, session: Session, tta_shifts: int) -> None:
        self._session, self._tta_shifts = session, tta_shifts

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> Output:
        each = [
            self._session.run(
                np.roll(windows, -k * windows.shape[1] // self._tta_shifts, axis=1), embeddings=embeddings
            )
            for k in range(self._tta_shifts)
        ]
        embedded = [output.embeddings for output in each if output.embeddings is not None]
        return Output(
            np.mean([output.logits for output in each], axis=0), np.mean(embedded, axis=0) if embedded else None
        )


class _LiteRtSession:
    def __init__(self, bundle: Bundle) -> None:
        from dawnchorus.models.litert import LiteRtGraph

        self._graph = LiteRtGraph(bundle.graph_path, bundle.window_samples)
        indices = bundle.info.graph_outputs
        if indices is None:
            outputs = self._graph.measured_outputs(bundle.window_samples)
            chosen = choose_outputs(
                bundle.graph_path, outputs, n_windows=self._graph.batch, n_classes=len(bundle.labels)
            )
            indices = {"logits": outputs.index(chosen.scores)}
        self._logits, self._embeddings = indices["logits"], indices.get("embeddings")

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> Output:
        wanted = [self._logits]
        if embeddings and self._embeddings is not None:
            wanted.append(self._embeddings)
        outputs = run_in_batches(lambda chunk: self._graph.run(chunk, wanted), windows, self._graph.batch)
        return Output(outputs[0], outputs[1] if len(outputs) > 1 else None)
