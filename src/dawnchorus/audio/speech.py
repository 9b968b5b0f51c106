"""Finding human speech, with Silero VAD's graph for whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

FloatArray = npt.NDArray[np.float32]

RATE_HZ = 16_000
"""What the graph expects."""

_FRAME, _CONTEXT = 512, 64
"""Samples in a frame, and of the frame before it that the graph sees as well."""

FRAME_S = _FRAME / RATE_HZ

_FRAMES_AT_A_TIME = 1024

ON, OFF = 0.4, 0.2
"""Speech begins at a probability of `ON` and ends below `OFF`. The authors advise 0.5 and 0.35 for clear speech; over
birds these find more of it, and cost few birds (bench/speech.py)."""

MIN_SPEECH_S = 0.2
MAX_GAP_S = 1.0
"""Pauses shorter than this belong to the speech around them."""

PAD_S = 0.3
"""What is cut before and behind."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a recording in seconds."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.end_s - self.start_s


class SpeechFinder:
    """The loaded graph; threads may share it, because it keeps nothing from call to call."""

    def __init__(self, graph: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def probabilities(self, samples: FloatArray) -> FloatArray:
        """The probability of speech in each frame of 32 ms of mono samples [n] at `RATE_HZ`."""
        n_frames = -(-len(samples) // _FRAME)
        padded = np.zeros(_CONTEXT + n_frames * _FRAME, np.float32)
        padded[_CONTEXT : _CONTEXT + len(samples)] = samples
        if not n_frames:
            return np.empty(0, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + _FRAME)[::_FRAME]
        state = cell = np.zeros((1, 1, 128), np.float32)
        found = []
        for start in range(0, n_frames, _FRAMES_AT_A_TIME):
            part = np.ascontiguousarray(frames[start : start + _FRAMES_AT_A_TIME])
            names = ["speech_probs", "hn", "cn"]
            values, state, cell = self._session.run(names, {"input": part, "h": state, "c": cell})
            found.append(values.reshape(-1))
        return np.concatenate(found)

    def find(self, samples: FloatArray) -> tuple[Span, ...]:
        """Where there is speech in mono samples [n] at `RATE_HZ`."""
        return spans_of(self.probabilities(samples), duration_s=len(samples) / RATE_HZ)


def spans_of(probabilities: FloatArray, *, duration_s: float) -> tuple[Span, ...]:
    """Stretches of speech from frame probabilities: hysteresis, then gaps closed, the short dropped, edges padded."""
    raw: list[tuple[float, float]] = []
    begin: int | None = None
    for k, value in enumerate(probabilities):
        if begin is None and value >= ON:
            begin = k
        elif begin is not None and value < OFF:
            raw.append((begin * FRAME_S, k * FRAME_S))
            begin = None
    if begin is not None:
        raw.append((begin * FRAME_S, len(probabilities) * FRAME_S))
    long_enough = [(a, b) for a, b in _joined(raw, MAX_GAP_S) if b - a >= MIN_SPEECH_S]
    padded = [(max(a - PAD_S, 0.0), min(b + PAD_S, duration_s)) for a, b in long_enough]
    return tuple(Span(a, b) for a, b in _joined(padded, 0.0))


def _joined(spans: Sequence[tuple[float, float]], gap_s: float) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for a, b in spans:
        if joined and a - joined[-1][1] <= gap_s:
            joined[-1] = (joined[-1][0], max(b, joined[-1][1]))
        else:
            joined.append((a, b))
    return joined
