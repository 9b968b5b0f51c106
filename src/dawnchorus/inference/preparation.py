"""Cleaning of recordings before they are cut into windows: noise reduction, trimming and removal of speech.

A bundle names the cleaning that its model was trained with, and identification, evaluation and server all apply it.
Results have times in the original recording, to which `KeptSegments` maps times in the cleaned audio.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.decode import MAX_DECODED_SAMPLES
from dawnchorus.audio.noise import reduce_noise
from dawnchorus.audio.process import DecoderProcess, IsolatedRecording
from dawnchorus.audio.sample_analyses import SampleAnalysis, Table
from dawnchorus.inference.speech import VadStream, VoiceActivityDetector
from dawnchorus.models.catalog.silero import speech_graph
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.types import AudioInfo, ChannelSource, RecordingMetadata, Segment

CHUNK_S = 120.0
"""Length in seconds of chunks for noise reduction, so that memory does not depend on a recording's length."""

_FRAME, _HOP = 2048, 512
"""Samples in a frame whose level is measured for trimming, and between the centers of neighboring frames."""


@dataclass(frozen=True)
class KeptSegments:
    """Segments of a recording that remain after cleaning, in order, and the mapping of times.

    Args:
        segments: the segments, with times in the recording.
        is_whole: True if the whole recording remains; `segments` is then ignored. If it is False and there are no
            segments, nothing remains, and times are returned unchanged.
    """

    segments: tuple[Segment, ...] = ()
    is_whole: bool = True

    def start_s(self, kept_s: float) -> float:
        """Convert a start time in the remaining audio to the time in the recording, both in seconds.

        The time of a cut becomes the start of the segment after the cut.
        """
        if self.is_whole or not self.segments:
            return kept_s
        k = max(bisect.bisect_right(self._starts_s, kept_s + 1e-9) - 1, 0)
        return self.segments[k].start_s + kept_s - self._starts_s[k]

    def end_s(self, kept_s: float) -> float:
        """Convert an end time in the remaining audio to the time in the recording, both in seconds.

        The time of a cut becomes the end of the segment before the cut; a time after the end becomes the end of the
        last segment.
        """
        if self.is_whole or not self.segments:
            return kept_s
        k = max(bisect.bisect_left(self._starts_s, kept_s - 1e-9) - 1, 0)
        return min(self.segments[k].start_s + kept_s - self._starts_s[k], self.segments[k].end_s)

    def kept_s(self, recording_s: float) -> float:
        """Convert a time in the recording to the time in the remaining audio, both in seconds.

        A time in a removed segment becomes the time of the cut in the remaining audio: 0 before the first segment,
        and the length of the remaining audio after the last segment.
        """
        if self.is_whole or not self.segments:
            return recording_s
        k = max(bisect.bisect_right([segment.start_s for segment in self.segments], recording_s) - 1, 0)
        inside_s = min(max(recording_s - self.segments[k].start_s, 0.0), self.segments[k].length_s)
        return self._starts_s[k] + inside_s

    def removed(self, duration_s: float) -> tuple[Segment, ...]:
        """Return the removed segments, in order, of a recording that is `duration_s` seconds long."""
        if self.is_whole:
            return ()
        ends = [0.0, *(segment.end_s for segment in self.segments)]
        starts = [*(segment.start_s for segment in self.segments), duration_s]
        return tuple(Segment(a, b) for a, b in zip(ends, starts, strict=True) if b > a)

    @cached_property
    def _starts_s(self) -> list[float]:
        lengths = np.array([segment.length_s for segment in self.segments[:-1]])
        return [0.0, *np.cumsum(lengths).tolist()]


WHOLE = KeptSegments()
"""The mapping for a recording from which nothing was removed."""


class Cleaner:
    """Opener of recordings with cleaning applied; threads may share it.

    Args:
        cleaning: settings of the cleaning.
        detector: speech detector; required if speech is removed.

    Raises:
        ValueError: there is no detector, and speech is to be removed.
    """

    def __init__(self, cleaning: Cleaning, detector: VoiceActivityDetector | None = None) -> None:
        if cleaning.cut_speech and detector is None:
            raise ValueError("cut_speech needs a VoiceActivityDetector")
        self.cleaning, self._detector = cleaning, detector

    def open(
        self,
        decoder: DecoderProcess,
        path: Path,
        *,
        rate_hz: int,
        max_samples: int = MAX_DECODED_SAMPLES,
        channel: ChannelSource = "mean",
        analyses: Mapping[str, SampleAnalysis] | None = None,
    ) -> CleanedRecording:
        """Open a recording for a `with` block; if cleaning removes segments, it is decoded twice.

        Args:
            decoder: process that decodes.
            path: the recording.
            rate_hz: sample rate of the cleaned audio.
            max_samples: maximum number of frames x channels of the recording; decoding fails beyond it.
            channel: channel to read: "mean", "left", "right", "best" (the one whose frequency bands vary most over
                time), or its number, from 1.
            analyses: analyses by name, which get the original samples of all channels; None for none.

        Raises:
            AudioError: cleaning removes segments, and the recording cannot be decoded, or the decoder crashed or hung
                on it. If cleaning removes nothing, such errors are raised at the start of the `with` block or in it.
        """
        kept = WHOLE
        if self.cleaning.removes:
            with decoder.open(path, rate_hz=rate_hz, max_samples=max_samples, channel=channel) as searched:
                kept = self._find_kept(searched.blocks(), rate_hz)
        opened = decoder.open(path, rate_hz=rate_hz, max_samples=max_samples, channel=channel, analyses=analyses)
        return CleanedRecording(opened, self.cleaning, kept, rate_hz)

    def _find_kept(self, blocks: Iterator[FloatArray], rate_hz: int) -> KeptSegments:
        """Return the segments that remain, from the blocks of the whole recording.

        In separate chunks, words at their edges would be missed.
        """
        vad_stream = None if self._detector is None else VadStream(self._detector, rate_hz=rate_hz)
        levels = _Levels()
        n = 0
        for block in blocks:
            n += len(block)
            if vad_stream is not None:
                vad_stream.add(block)
            if self.cleaning.trim_db is not None:
                levels.add(block)
        first, last = (0, n) if self.cleaning.trim_db is None else _trim(levels.frames(), self.cleaning.trim_db, n)
        removed = vad_stream.finish() if vad_stream is not None else ()
        segments = _without(Segment(first / rate_hz, last / rate_hz), removed) if n else []
        return KeptSegments(tuple(segments), is_whole=(first, last) == (0, n) and not removed)


class CleanedRecording:
    """Open recording whose `blocks()` are cleaned; implements `audio.decode.OpenRecording`.

    Args:
        source: the recording, as decoded.
        cleaning: settings of the cleaning, of which only noise reduction is done here.
        kept: segments of the recording that `blocks()` yields.
        rate_hz: sample rate of the blocks of `source`.
    """

    def __init__(self, source: IsolatedRecording, cleaning: Cleaning, kept: KeptSegments, rate_hz: int) -> None:
        self._source, self._cleaning, self._rate_hz = source, cleaning, rate_hz
        self.kept = kept
        """Segments of the recording that `blocks()` yields."""

    def __enter__(self) -> Self:
        """Read the header, and return the recording.

        Raises:
            AudioError: the file cannot be opened, or the decoder crashed or hung on it.
        """
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding; see `IsolatedRecording.close`."""
        self._source.close()

    @property
    def info(self) -> AudioInfo:
        """Properties in the audio file's header."""
        return self._source.info

    @property
    def metadata(self) -> RecordingMetadata:
        """Location and time in the metadata of the file."""
        return self._source.metadata

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems with the header and, after the last block, with the samples."""
        return self._source.warnings

    @property
    def tables(self) -> Mapping[str, Table]:
        """Tables of the sample analyses by name; empty before the last block."""
        return self._source.tables

    @property
    def duration_s(self) -> float:
        """Decoded length of the recording in seconds, including removed segments, after the last block; 0 before."""
        return self._source.duration_s

    def blocks(self) -> Iterator[FloatArray]:
        """Yield the cleaned audio as mono float32 blocks [samples]; a block is valid until the next one is requested.

        Raises:
            AudioError: the recording cannot be decoded, or the decoder crashed or hung on it.
            MissingExtraError: noisereduce is not installed.
        """
        blocks = self._source.blocks()
        n_read = 0
        for block in _chunks(blocks, self._rate_hz) if self._cleaning.denoise else blocks:
            yield from self._clean(block, n_read)
            n_read += len(block)

    def _clean(self, block: FloatArray, n_before: int) -> Iterator[FloatArray]:
        kept, rate_hz = self.kept, self._rate_hz
        ranges = [(0, len(block))] if kept.is_whole else sample_ranges(kept.segments, n_before, len(block), rate_hz)
        if ranges and self._cleaning.denoise is not None:
            block = reduce_noise(block, rate_hz=rate_hz, kind=self._cleaning.denoise)
        for start, stop in ranges:
            yield block[start:stop]


def open_cleaner(cleaning: Cleaning | None, folder: Path) -> Cleaner:
    """Return the cleaner for a bundle's settings (None: no cleaning), with a speech detector from `folder` if needed.

    `folder` is the folder of the built-in models.

    Raises:
        ModelError: the cleaning removes speech, and the speech detector cannot be downloaded.
    """
    steps = cleaning or Cleaning()
    return Cleaner(steps, VoiceActivityDetector(speech_graph(folder)) if steps.cut_speech else None)


def _chunks(blocks: Iterator[FloatArray], rate_hz: int) -> Iterator[FloatArray]:
    """Yield the blocks joined to chunks of `CHUNK_S` seconds."""
    waiting: list[FloatArray] = []
    n = 0
    for block in blocks:
        waiting.append(block.copy())
        n += len(block)
        if n >= CHUNK_S * rate_hz:
            yield np.concatenate(waiting)
            waiting, n = [], 0
    if waiting:
        yield np.concatenate(waiting)


def sample_ranges(segments: Sequence[Segment], n_before: int, n: int, rate_hz: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the samples of each segment within a block of `n` samples, counted in the block from 0.

    The block starts at sample `n_before` of the recording. Segments without samples in the block are left out.
    """
    ranges = []
    for segment in segments:
        start = max(round(segment.start_s * rate_hz) - n_before, 0)
        stop = min(round(segment.end_s * rate_hz) - n_before, n)
        if start < stop:
            ranges.append((start, stop))
    return ranges


def _without(segment: Segment, removed: tuple[Segment, ...]) -> list[Segment]:
    """Return the parts of a segment that are not in `removed`."""
    kept, start_s = [], segment.start_s
    for cut in removed:
        if cut.start_s > start_s:
            kept.append(Segment(start_s, min(cut.start_s, segment.end_s)))
        start_s = max(start_s, cut.end_s)
        if start_s >= segment.end_s:
            return [piece for piece in kept if piece.length_s > 0]
    return [piece for piece in [*kept, Segment(start_s, segment.end_s)] if piece.length_s > 0]


class _Levels:
    """Energy of every `_HOP` samples of a recording, updated block by block."""

    def __init__(self) -> None:
        self._energies: list[npt.NDArray[np.float64]] = []
        self._rest = np.empty(0, np.float32)

    def add(self, block: FloatArray) -> None:
        samples = np.concatenate([self._rest, block])
        n = len(samples) // _HOP * _HOP
        self._energies.append(_energies(samples[:n]))
        self._rest = samples[n:]

    def frames(self) -> npt.NDArray[np.float64]:
        """Return the energy of each frame; frames are centered, and padded with silence."""
        tail = np.pad(self._rest, (0, _HOP - len(self._rest)))
        energies = np.concatenate([np.zeros(2), *self._energies, _energies(tail), np.zeros(1)])
        frames: npt.NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(energies, _FRAME // _HOP).sum(1)
        return frames


def _energies(samples: FloatArray) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.square(samples.reshape(-1, _HOP), dtype=np.float64).sum(1)
    return squares


def _trim(energies: npt.NDArray[np.float64], trim_db: float, n: int) -> tuple[int, int]:
    """Return the range of samples, of `n`, from the first to the last frame less than `trim_db` below the loudest."""
    loud = np.flatnonzero(energies > energies.max() * 10 ** (-trim_db / 10))
    if not len(loud):
        return 0, n
    return int(loud[0]) * _HOP, min((int(loud[-1]) + 1) * _HOP, n)
