"""Speech detection with Silero VAD."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.decode import resampler
from dawnchorus.models.engines.registry import open_graph
from dawnchorus.types import Segment

RATE_HZ = 16_000
"""Sample rate of the graph's input in Hz."""

_FRAME, _CONTEXT = 512, 64
"""Samples in a frame, and samples before it that the graph gets as context."""

FRAME_S = _FRAME / RATE_HZ

_FRAMES_AT_A_TIME = 1024

ON, OFF = 0.4, 0.2
"""Probabilities at which speech starts (`ON` or more) and ends (below `OFF`).

The authors advise 0.5 and 0.35 for clear speech. With birds in the background, these values detect more of the speech
and remove few birds (bench/speech.py).
"""

MIN_SPEECH_S = 0.2
MAX_GAP_S = 1.0
"""Maximum length in seconds of a pause that is included in the speech around it."""

PAD_S = 0.3
"""Seconds that are added to speech segments at each end."""


class VoiceActivityDetector:
    """Silero's voice-activity detection; stateless, so that threads may share it.

    Args:
        graph: file of the graph in ONNX; `models.catalog.silero.speech_graph` returns its path.

    Raises:
        InvalidBundleError: the graph cannot be loaded.
    """

    def __init__(self, graph: Path) -> None:
        self._graph = open_graph(graph)

    def probabilities(
        self, frames: FloatArray, state: FloatArray, cell: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the speech probability [n] of successive frames [n, 576], and the new `state` and `cell`.

        All arrays are float32. A frame has 512 samples at `RATE_HZ`, after the 64 samples before them.

        `state` and `cell` [1, 1, 128], the states of the recurrent network, are those that the previous call returned,
        or zeros at the start of a recording.
        """
        names = ["speech_probs", "hn", "cn"]
        values, state, cell = self._graph.run({"input": frames, "h": state, "c": cell}, names)
        return values.reshape(-1), state, cell

    def find(self, samples: FloatArray, *, rate_hz: int = RATE_HZ) -> tuple[Segment, ...]:
        """Return the segments with speech, in order, in mono samples [n] at `rate_hz`, which are resampled if need be.

        Times are in seconds from the first sample.
        """
        vad_stream = VadStream(self, rate_hz=rate_hz)
        vad_stream.add(samples)
        return vad_stream.finish()


class VadStream:
    """Streaming voice-activity detection over one recording.

    Args:
        detector: the detector.
        rate_hz: sample rate of the blocks in Hz; audio of another rate than `RATE_HZ` is resampled.
    """

    def __init__(self, detector: VoiceActivityDetector, *, rate_hz: int) -> None:
        self._detector = detector
        self._resampler = None if rate_hz == RATE_HZ else resampler(rate_hz, RATE_HZ)
        self._waiting = [np.zeros(_CONTEXT, np.float32)]
        self._n_waiting = self._n = 0
        self._state = self._cell = np.zeros((1, 1, 128), np.float32)
        self._probabilities: list[FloatArray] = []

    def add(self, block: FloatArray) -> None:
        """Append the next block of mono samples [n], float32, -1 to 1; blocks may differ in length."""
        self._append(block.copy() if self._resampler is None else self._resampler.resample_chunk(block))

    def finish(self) -> tuple[Segment, ...]:
        """Return the segments with speech in all blocks, in order; called once, after the last block.

        Times are in seconds from the first sample of the first block.
        """
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        self._score_frames(np.concatenate([*self._waiting, np.zeros(-self._n_waiting % _FRAME, np.float32)]))
        probabilities = np.concatenate(self._probabilities) if self._probabilities else np.empty(0, np.float32)
        return build_segments(probabilities, duration_s=self._n / RATE_HZ)

    def _append(self, samples: FloatArray) -> None:
        self._waiting.append(samples)
        self._n_waiting += len(samples)
        self._n += len(samples)
        if self._n_waiting >= _FRAMES_AT_A_TIME * _FRAME:
            self._score_frames(np.concatenate(self._waiting))

    def _score_frames(self, samples: FloatArray) -> None:
        """Compute the probabilities of all complete frames, each with the end of the previous frame as context."""
        n_frames = (len(samples) - _CONTEXT) // _FRAME
        frames = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT + _FRAME)[::_FRAME] if n_frames else ()
        for start in range(0, n_frames, _FRAMES_AT_A_TIME):
            chunk = np.ascontiguousarray(frames[start : start + _FRAMES_AT_A_TIME])
            probabilities, self._state, self._cell = self._detector.probabilities(chunk, self._state, self._cell)
            self._probabilities.append(probabilities)
        self._waiting = [samples[n_frames * _FRAME :]]
        self._n_waiting -= n_frames * _FRAME


def build_segments(probabilities: FloatArray, *, duration_s: float) -> tuple[Segment, ...]:
    """Return segments of speech, in order, from frame probabilities, by hysteresis.

    Speech starts at a probability of `ON` or more, and ends below `OFF`. Then, in this order, pauses of up to
    `MAX_GAP_S` are closed, segments shorter than `MIN_SPEECH_S` are dropped, and the remaining segments are padded by
    `PAD_S` at each end, within the recording. Times are in seconds from the start of the recording.

    Args:
        probabilities: speech probability of each frame of `FRAME_S` seconds [frames], from the recording's start on.
        duration_s: length of the recording in seconds.
    """
    raw: list[tuple[float, float]] = []
    start: int | None = None
    for k, value in enumerate(probabilities):
        if start is None and value >= ON:
            start = k
        elif start is not None and value < OFF:
            raw.append((start * FRAME_S, k * FRAME_S))
            start = None
    if start is not None:
        raw.append((start * FRAME_S, len(probabilities) * FRAME_S))
    long_enough = [(a, b) for a, b in _join_over_pauses(raw) if b - a >= MIN_SPEECH_S]
    return tuple(Segment(max(a - PAD_S, 0.0), min(b + PAD_S, duration_s)) for a, b in long_enough)


def join_overlapping(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Return the union of the segments, in order of time; segments that touch are joined as well."""
    joined: list[Segment] = []
    for segment in sorted(segments, key=lambda segment: segment.start_s):
        if joined and segment.start_s <= joined[-1].end_s:
            joined[-1] = Segment(joined[-1].start_s, max(joined[-1].end_s, segment.end_s))
        else:
            joined.append(segment)
    return tuple(joined)


def _join_over_pauses(segments: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join successive segments (start, end) over pauses of up to `MAX_GAP_S`."""
    joined: list[tuple[float, float]] = []
    for a, b in segments:
        if joined and a - joined[-1][1] <= MAX_GAP_S:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    return joined
