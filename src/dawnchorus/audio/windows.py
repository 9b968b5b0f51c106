"""Cutting of blocks of samples into windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InputError
from dawnchorus.tables.notes import counted

MIN_TAIL_FRACTION = 0.25
"""Minimum length of a last window that is padded, as a share of a window; a shorter recording is always scored."""

_MIN_UNSCORED_S = 0.01
"""Minimum number of seconds to report as not covered; less is due to rounding."""


@dataclass(frozen=True)
class WindowPlan:
    """Length and spacing of the windows of a recording.

    Full windows follow each other as long as they fit into the recording. If they leave at least a quarter of a window
    uncovered at the end, one more window follows, padded with zeros; a shorter rest is in no window. A recording that
    is shorter than one window has one padded window.
    """

    rate_hz: int
    """Sample rate of the recording's samples."""
    window_samples: int
    """Number of samples in a window."""
    hop_samples: int
    """Number of samples from the start of a window to that of the next."""

    @classmethod
    def from_seconds(cls, *, rate_hz: int, window_s: float, overlap_s: float = 0.0) -> WindowPlan:
        """Return a plan with lengths rounded to whole samples; `overlap_s` is the time that neighboring windows share.

        Raises:
            InputError: the overlap is negative, not shorter than the window, or not a finite number.
        """
        window_samples = round(window_s * rate_hz)
        is_number = _is_finite(overlap_s)
        hop_samples = window_samples - round(overlap_s * rate_hz) if is_number else 0
        if not is_number or overlap_s < 0 or hop_samples < 1:
            got = f"{overlap_s:g} s" if is_number else repr(overlap_s)
            raise InputError(
                f"overlap: expected 0 or more and less than the model's window of {window_s:g} s, got {got}."
            )
        return cls(rate_hz=rate_hz, window_samples=window_samples, hop_samples=hop_samples)

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.window_samples / self.rate_hz

    def start_s(self, index: int) -> float:
        """Return the start of window `index` (from 0), in seconds from the start of the recording."""
        return index * self.hop_samples / self.rate_hz

    def count(self, n_samples: int) -> int:
        """Return the number of windows of a recording of `n_samples` samples."""
        if n_samples <= 0:
            return 0
        if n_samples < self.window_samples:
            return 1
        full = (n_samples - self.window_samples) // self.hop_samples + 1
        covered = (full - 1) * self.hop_samples + self.window_samples
        return full + int(n_samples - covered >= self.window_samples * MIN_TAIL_FRACTION)

    def scored_s(self, duration_s: float) -> float:
        """Return the length in seconds, from the start of a recording of length `duration_s`, that its windows cover.

        Padding does not count: the result is at most `duration_s`, rounded to samples.
        """
        n_samples = round(duration_s * self.rate_hz)
        n_windows = self.count(n_samples)
        return (
            min(max(n_windows - 1, 0) * self.hop_samples + self.window_samples * min(n_windows, 1), n_samples)
            / self.rate_hz
        )

    def unscored_s(self, duration_s: float) -> float:
        """Return the length in seconds, at the end of a recording of length `duration_s`, that no window covers."""
        return duration_s - self.scored_s(duration_s)


@dataclass
class UnscoredReport:
    """Report on the audio at the ends of recordings that no window covers, with the first example."""

    n: int = 0
    """Number of all recordings."""
    n_with_unscored: int = 0
    """Number of recordings with at least 0.01 s at the end that no window covers."""
    unscored_s: float = 0.0
    """Total length in seconds of these ends."""
    _example: str = ""

    def add(self, name: str, plan: WindowPlan, duration_s: float) -> None:
        """Count one recording; `duration_s` is the length of its audio, and `name` is for the example."""
        self.n += 1
        unscored_s = plan.unscored_s(duration_s)
        if unscored_s >= _MIN_UNSCORED_S:
            self.n_with_unscored += 1
            self.unscored_s += unscored_s
            self._example = self._example or f"{name}: the last {unscored_s:.2f} of {duration_s:.2f} s"

    def note(self, plan: WindowPlan) -> str | None:
        """Return a sentence on audio that no window covers; None if there is none.

        `plan` has the length of the windows, for the sentence.
        """
        if not self.n_with_unscored:
            return None
        return (
            f"{self.unscored_s:.2f} s at the ends of {self.n_with_unscored} of {counted(self.n, 'recording')} "
            f"are not scored, being less than a quarter of a window of {plan.window_s:g} s, as {self._example}."
        )


class Windower:
    """Cutter of a stream of samples into windows; it stores only samples that later windows need.

    Args:
        plan: length and spacing of the windows.
        batch: number of windows in a batch.
    """

    def __init__(self, plan: WindowPlan, *, batch: int) -> None:
        self._plan = plan
        self._batch = batch
        self._needed = (batch - 1) * plan.hop_samples + plan.window_samples
        self._samples = np.empty(self._needed, np.float32)
        self._n_held = 0
        self._n_total = 0
        self._n_windows = 0

    def push(self, block: FloatArray) -> list[FloatArray]:
        """Append a block [samples], and return the batches [batch, window_samples] that it completes; may be empty."""
        self._n_total += len(block)
        batches = []
        while len(block):
            chunk = block[: self._needed - self._n_held]
            self._samples[self._n_held : self._n_held + len(chunk)] = chunk
            self._n_held += len(chunk)
            block = block[len(chunk) :]
            if self._n_held == self._needed:
                batches.append(self._cut(self._samples, self._batch))
                rest = self._samples[self._batch * self._plan.hop_samples :]
                self._samples = np.empty(self._needed, np.float32)
                self._samples[: len(rest)] = rest
                self._n_held = len(rest)
        return batches

    def finish(self) -> FloatArray | None:
        """Return the remaining windows [n, window_samples], at most `batch`; None if there are none.

        A last window that is too short is padded with zeros, see `WindowPlan`.

        To be called once, after the last block.
        """
        n_left = self._plan.count(self._n_total) - self._n_windows
        if n_left <= 0:
            return None
        self._samples[self._n_held : (n_left - 1) * self._plan.hop_samples + self._plan.window_samples] = 0
        return self._cut(self._samples, n_left)

    def _cut(self, samples: FloatArray, n: int) -> FloatArray:
        plan = self._plan
        self._n_windows += n
        if plan.hop_samples == plan.window_samples:
            return samples[: n * plan.window_samples].reshape(n, plan.window_samples)
        views = np.lib.stride_tricks.sliding_window_view(samples, plan.window_samples)
        return np.ascontiguousarray(views[: (n - 1) * plan.hop_samples + 1 : plan.hop_samples])


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
