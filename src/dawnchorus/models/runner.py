"""Running a bundle: waveforms in, scores out, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import BundleInvalid, MissingExtra
from dawnchorus.models.bundle import Activation, Bundle, Calibration
from dawnchorus.onnx_files import open_onnx_session

FloatArray = npt.NDArray[np.float32]

BATCH_WINDOWS = 8
"""Windows in one call of a session; more bring nothing on a CPU."""


N_TIMED = 9


@dataclass(frozen=True)
class Output:
    """What a graph gives for n windows: logits [n, classes] and, where it has them, embeddings [n, dim]."""

    logits: FloatArray
    embeddings: FloatArray | None


def milliseconds(bundle: Bundle, *, sound_s: float = 5.0) -> float:
    """What the graph takes for so many seconds of sound on one core: the median of some runs of one window."""
    session = open_session(bundle)
    window = np.random.default_rng(1).normal(0, 0.05, (1, bundle.n_window)).astype(np.float32)
    session.run(window)
    took = []
    for _ in range(N_TIMED):
        begin = time.perf_counter()
        session.run(window)
        took.append(time.perf_counter() - begin)
    return 1000 * statistics.median(took) * sound_s / bundle.info.window_s


class Session(Protocol):
    """A loaded graph; not to be used by two threads at once."""

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> Output:
        """Float32 windows [n, samples] -> `Output`."""
        ...


def open_session(bundle: Bundle, *, turns: int = 1) -> Session:
    """Load the bundle's graph for use by one thread: ONNX with onnxruntime, TFLite with LiteRT.

    With `turns` above 1 (test-time augmentation) every window is run so many times, turned around in time by equal
    parts of its length, and logits and embeddings are the means.

    Raises:
        BundleInvalid: the graph cannot be loaded, or does not fit bundle.json.
        MissingExtra: the graph is a TFLite file and LiteRT is not installed.
    """
    session: Session = _LiteRtSession(bundle) if bundle.info.graph == "model.tflite" else _OnnxSession(bundle)
    return session if turns == 1 else _TurningSession(session, turns)


def scores_of(logits: FloatArray, activation: Activation) -> FloatArray:
    """Scores between 0 and 1 from logits [n, classes], by the bundle's activation."""
    return _ACTIVATIONS[activation](logits)


def log_odds(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The logarithm of score / (1 - score), finite for 0 and 1."""
    inside = np.clip(np.asarray(scores, np.float64), 1e-9, 1 - 1e-9)
    found: npt.NDArray[np.float64] = np.log(inside / (1 - inside))
    return found


def probabilities_of(scores: npt.NDArray[np.floating], calibration: Calibration) -> npt.NDArray[np.float64]:
    """Probabilities from scores, by the bundle's calibration."""
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
            raise BundleInvalid(
                f"{bundle.graph_path}: expected the input 'waveform' and the output 'logits', "
                f"found {list(inputs)} and {list(outputs)}. Wrap outside models with `dawnchorus models wrap`."
            )
        if outputs["logits"][-1] != len(bundle.labels):
            raise BundleInvalid(
                f"{bundle.folder}: the graph has {outputs['logits'][-1]} classes, labels.csv has {len(bundle.labels)}."
            )
        if inputs["waveform"][-1] not in (bundle.n_window, None) and not isinstance(inputs["waveform"][-1], str):
            raise BundleInvalid(
                f"{bundle.folder}: the graph takes {inputs['waveform'][-1]} samples, bundle.json says "
                f"{bundle.n_window}."
            )
        self._has_embeddings = "embeddings" in outputs
        self._one_by_one = inputs["waveform"][0] == 1

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> Output:
        wanted = ["logits"] + (["embeddings"] if embeddings and self._has_embeddings else [])
        if self._one_by_one:
            each = [self._session.run(wanted, {"waveform": window[np.newaxis]}) for window in windows]
            found = [np.concatenate(parts) for parts in zip(*each, strict=True)]
        else:
            found = self._session.run(wanted, {"waveform": windows})
        return Output(found[0], found[1] if len(found) > 1 else None)


class _TurningSession:
    def __init__(self, session: Session, turns: int) -> None:
        self._session, self._turns = session, turns

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> Output:
        each = [
            self._session.run(np.roll(windows, -k * windows.shape[1] // self._turns, axis=1), embeddings=embeddings)
            for k in range(self._turns)
        ]
        found = [output.embeddings for output in each if output.embeddings is not None]
        return Output(np.mean([output.logits for output in each], axis=0), np.mean(found, axis=0) if found else None)


class _LiteRtSession:
    def __init__(self, bundle: Bundle) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise MissingExtra(
                "ai-edge-litert", extra="litert", purpose=f"The TFLite model {bundle.info.name}"
            ) from None
        try:
            self._interpreter = Interpreter(str(bundle.graph_path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleInvalid(f"{bundle.graph_path} cannot be loaded: {error}") from error
        details = self._interpreter.get_input_details()
        if len(details) != 1 or int(np.prod(details[0]["shape"])) != bundle.n_window:
            raise BundleInvalid(
                f"{bundle.folder}: expected one input of {bundle.n_window} samples, found "
                f"{[d['shape'].tolist() for d in details]}. Give the model's own window and sample rate."
            )
        self._input, self._shape = details[0]["index"], details[0]["shape"]
        outputs = self._interpreter.get_output_details()
        n_classes = len(bundle.labels)
        matching = [d for d in outputs if d["shape"][-1] == n_classes]
        if not matching:
            raise BundleInvalid(
                f"{bundle.folder}: no output of the graph has the {n_classes} classes of labels.csv; "
                f"found {[d['shape'].tolist() for d in outputs]}."
            )
        self._logits = matching[0]["index"]

    def run(self, windows: FloatArray, *, embeddings: bool = False) -> Output:
        del embeddings  # a wrapped TFLite file names none
        rows = []
        for window in windows:
            self._interpreter.set_tensor(self._input, window.reshape(self._shape))
            self._interpreter.invoke()
            rows.append(self._interpreter.get_tensor(self._logits).reshape(-1).copy())
        return Output(np.stack(rows), None)
