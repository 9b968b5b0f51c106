"""Cleaning: fixed steps that a recording's sound goes through before it is cut into windows.

A bundle names the steps that its model was trained with, and every path that scores with it takes them: identify,
evaluate and serve. Times stay those of the recording: `Kept` maps them.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.decode import MAX_DECODED_SAMPLES
from dawnchorus.audio.noise import reduce_noise
from dawnchorus.audio.process import DecoderProcess, Ended, Opened
from dawnchorus.inference.speech import Listening, SpeechFinder
from dawnchorus.models.catalog.silero import speech_graph
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.types import ChannelSource, Span

FloatArray = npt.NDArray[np.float32]

CHUNK_S = 120.0
"""Noise is estimated in stretches of this length, so that memory does not depend on a recording's."""

_FRAME, _HOP = 2048, 512
"""Samples in a frame whose level is measured for trimming, and between the centres of neighbouring frames."""


@dataclass(frozen=True)
class Kept:
    """Spans of a recording that cleaning keeps, in order; without any spans, nothing is removed.

    Args:
        spans: seconds of the recording.
        is_whole: the whole recording is kept.
    """

    spans: tuple[Span, ...] = ()
    is_whole: bool = True

    def start_s(self, kept_s: float) -> float:
        """Return the time in the recording of what begins at `kept_s` of the kept sound, both in seconds."""
        if self.is_whole or not self.spans:
            return kept_s
        k = max(bisect.bisect_right(self._begins, kept_s + 1e-9) - 1, 0)
        return self.spans[k].start_s + kept_s - self._begins[k]

    def end_s(self, kept_s: float) -> float:
        """Return the time in the recording of what ends at `kept_s` of the kept sound, both in seconds."""
        if self.is_whole or not self.spans:
            return kept_s
        k = max(bisect.bisect_left(self._begins, kept_s - 1e-9) - 1, 0)
        return min(self.spans[k].start_s + kept_s - self._begins[k], self.spans[k].end_s)

    def kept_s(self, recording_s: float) -> float:
        """Return the time in the kept sound of a time in the recording; of one that is removed, the cut's."""
        if self.is_whole or not self.spans:
            return recording_s
        k = max(bisect.bisect_right([span.start_s for span in self.spans], recording_s) - 1, 0)
        inside_s = min(max(recording_s - self.spans[k].start_s, 0.0), self.spans[k].length_s)
        return self._begins[k] + inside_s

    def removed(self, duration_s: float) -> tuple[Span, ...]:
        """Return the spans that cleaning removes from a recording of this length."""
        if self.is_whole:
            return ()
        ends = [0.0, *(span.end_s for span in self.spans)]
        starts = [*(span.start_s for span in self.spans), duration_s]
        return tuple(Span(a, b) for a, b in zip(ends, starts, strict=True) if b > a)

    @cached_property
    def _begins(self) -> list[float]:
        lengths = np.array([span.length_s for span in self.spans[:-1]])
        return [0.0, *np.cumsum(lengths).tolist()]


WHOLE = Kept()
"""Nothing is removed."""


class Cleaner:
    """Decodes recordings and cleans them.

    Threads may share one.

    Args:
        cleaning: the steps.
        finder: finds speech; needed where speech is cut.
    """

    def __init__(self, cleaning: Cleaning, finder: SpeechFinder | None = None) -> None:
        if cleaning.cut_speech and finder is None:
            raise ValueError("cut_speech needs a SpeechFinder")
        self.cleaning, self._finder = cleaning, finder

    def decode(
        self,
        decoder: DecoderProcess,
        path: Path,
        *,
        rate_hz: int,
        max_samples: int = MAX_DECODED_SAMPLES,
        channel: ChannelSource = "mean",
    ) -> Iterator[Opened | Kept | FloatArray | Ended]:
        """Yield `Opened`, `Kept` where parts are removed, mono blocks [samples] at `rate_hz` of what is kept, `Ended`.

        Where parts are removed, the recording is decoded twice. A block is valid until the next item is asked for.

        Raises:
            AudioError: the recording cannot be decoded, or the decoder crashed or hung on it.
            MissingExtra: noisereduce is not installed.
        """
        parts = decoder.decode(path, rate_hz=rate_hz, max_samples=max_samples, channel=channel)
        if not self.cleaning:
            yield from parts
            return
        kept = WHOLE
        if self.cleaning.removes:
            searched = decoder.decode(path, rate_hz=rate_hz, max_samples=max_samples, channel=channel)
            kept = self._find_kept(searched, rate_hz)
        n_read = 0
        for part in _chunks(parts, rate_hz) if self.cleaning.denoise else parts:
            if isinstance(part, Opened):
                yield part
                if not kept.is_whole:
                    yield kept
            elif isinstance(part, Ended):
                yield part
            else:
                yield from self._clean(part, n_read, kept, rate_hz)
                n_read += len(part)

    def _clean(self, block: FloatArray, n_before: int, kept: Kept, rate_hz: int) -> Iterator[FloatArray]:
        places = [(0, len(block))] if kept.is_whole else samples_in(kept.spans, n_before, len(block), rate_hz)
        if places and self.cleaning.denoise is not None:
            block = reduce_noise(block, rate_hz=rate_hz, kind=self.cleaning.denoise)
        for start, stop in places:
            yield block[start:stop]

    def _find_kept(self, parts: Iterator[Opened | FloatArray | Ended], rate_hz: int) -> Kept:
        """Go through the whole recording once: chunk by chunk, words at edges would be missed."""
        listening = None if self._finder is None else Listening(self._finder, rate_hz=rate_hz)
        levels = _Levels()
        n = 0
        for part in parts:
            if isinstance(part, Opened | Ended):
                continue
            n += len(part)
            if listening is not None:
                listening.add(part)
            if self.cleaning.trim_db is not None:
                levels.add(part)
        first, last = (0, n) if self.cleaning.trim_db is None else _trimmed(levels.frames(), self.cleaning.trim_db, n)
        removed = listening.finish() if listening is not None else ()
        spans = _without(Span(first / rate_hz, last / rate_hz), removed) if n else []
        return Kept(tuple(spans), is_whole=(first, last) == (0, n) and not removed)


def open_cleaner(cleaning: Cleaning | None, folder: Path) -> Cleaner:
    """Open a cleaner of recordings, with the speech detector in the models' `folder` where speech is cut.

    Raises:
        ModelError: see `speech_graph`.
    """
    steps = cleaning or Cleaning()
    return Cleaner(steps, SpeechFinder(speech_graph(folder)) if steps.cut_speech else None)


def _chunks(parts: Iterator[Opened | FloatArray | Ended], rate_hz: int) -> Iterator[Opened | FloatArray | Ended]:
    """Join the blocks to chunks of `CHUNK_S`."""
    waiting: list[FloatArray] = []
    n = 0
    for part in parts:
        if isinstance(part, Opened):
            yield part
            continue
        if not isinstance(part, Ended):
            waiting.append(part.copy())
            n += len(part)
        if waiting and (isinstance(part, Ended) or n >= CHUNK_S * rate_hz):
            yield np.concatenate(waiting)
            waiting, n = [], 0
        if isinstance(part, Ended):
            yield part


def samples_in(spans: Sequence[Span], n_before: int, n: int, rate_hz: int) -> list[tuple[int, int]]:
    """Return the first and last samples of each span within a block of `n` samples that begins at sample `n_before`."""
    places = []
    for span in spans:
        start = max(round(span.start_s * rate_hz) - n_before, 0)
        stop = min(round(span.end_s * rate_hz) - n_before, n)
        if start < stop:
            places.append((start, stop))
    return places


def _without(span: Span, removed: tuple[Span, ...]) -> list[Span]:
    """Return what is left of a span."""
    kept, begin_s = [], span.start_s
    for cut in removed:
        if cut.start_s > begin_s:
            kept.append(Span(begin_s, min(cut.start_s, span.end_s)))
        begin_s = max(begin_s, cut.end_s)
        if begin_s >= span.end_s:
            return [part for part in kept if part.length_s > 0]
    return [part for part in [*kept, Span(begin_s, span.end_s)] if part.length_s > 0]


class _Levels:
    """The energy of every `_HOP` samples of a recording, block by block."""

    def __init__(self) -> None:
        self._energies: list[npt.NDArray[np.float64]] = []
        self._rest = np.empty(0, np.float32)

    def add(self, block: FloatArray) -> None:
        samples = np.concatenate([self._rest, block])
        n = len(samples) // _HOP * _HOP
        self._energies.append(_energies(samples[:n]))
        self._rest = samples[n:]

    def frames(self) -> npt.NDArray[np.float64]:
        """Return the energy of each frame; frames are centred, with silence before and after the recording."""
        tail = np.pad(self._rest, (0, _HOP - len(self._rest)))
        energies = np.concatenate([np.zeros(2), *self._energies, _energies(tail), np.zeros(1)])
        frames: npt.NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(energies, _FRAME // _HOP).sum(1)
        return frames


def _energies(samples: FloatArray) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.square(samples.reshape(-1, _HOP), dtype=np.float64).sum(1)
    return squares


def _trimmed(energies: npt.NDArray[np.float64], trim_db: float, n: int) -> tuple[int, int]:
    """Return first and last sample, of `n`, between which frames are louder than `trim_db` below the loudest."""
    loud = np.flatnonzero(energies > energies.max() * 10 ** (-trim_db / 10))
    if not len(loud):
        return 0, n
    return int(loud[0]) * _HOP, min((int(loud[-1]) + 1) * _HOP, n)
