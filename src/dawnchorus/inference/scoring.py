"""Recordings to scores with all cores: decoder processes work ahead of inference threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.channels import channel_sources
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.sample_analyses import Table
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.errors import AudioError
from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.preparation import WHOLE, Cleaner, Kept
from dawnchorus.inference.speech import VadStream, VoiceActivityDetector, join_overlapping
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import BATCH_WINDOWS, Session, apply_activation, open_session
from dawnchorus.types import AudioInfo, ChannelOption, ChannelSource, RecordingMetadata, Segment

FloatArray = npt.NDArray[np.float32]

HIT = np.dtype([("window", "<i4"), ("class", "<i4"), ("score", "<f4")])
"""One score at or above its threshold: the window's number, the class's output index, the score."""

_BATCHES_PER_WORKER = 2
_DONE_AHEAD = 64


@dataclass(frozen=True)
class ScoreFilter:
    """Scores to keep: those of at least `thresholds` [classes]; of these the `top` best in each window."""

    thresholds: FloatArray
    top: int | None = None

    def apply(self, scores: FloatArray, first_window: int) -> npt.NDArray[np.void]:
        """Return the hits in `scores` [n, classes] of windows from `first_window` on, best first in a window."""
        is_kept = scores >= self.thresholds
        if self.top is not None and self.top < scores.shape[1]:
            # What is below the last rank is not worth sorting; equal scores at the last rank are sorted out below.
            last = np.partition(np.where(is_kept, scores, -np.inf), -self.top, axis=1)[:, -self.top]
            is_kept &= scores >= last[:, np.newaxis]
        rows, classes = np.nonzero(is_kept)
        hits = np.empty(len(rows), HIT)
        hits["window"] = rows + first_window
        hits["class"] = classes
        hits["score"] = scores[rows, classes]
        hits = hits[np.lexsort((hits["class"], -hits["score"], hits["window"]))]
        if self.top is None or not len(hits):
            return hits
        starts = np.searchsorted(hits["window"], hits["window"], side="left")
        return hits[np.arange(len(hits)) - starts < self.top]


@dataclass(frozen=True)
class ChannelHits:
    """Hits in one channel of a recording, or in the one signal that was scored for all of them."""

    hits: npt.NDArray[np.void]
    kept: Kept = WHOLE
    """Segments of the recording that the bundle's cleaning keeps, and that windows are cut from."""
    channel: int | None = None
    """Number of the channel, from 1; None for one signal of all channels."""

    def kept_s(self, duration_s: float) -> float:
        """Return the seconds of sound that windows are cut from, of a recording of this length."""
        return duration_s if self.kept.is_whole else sum(segment.length_s for segment in self.kept.segments)


@dataclass(frozen=True)
class ScoredRecording:
    """A recording that was scored to its end."""

    path: Path
    info: AudioInfo
    metadata: RecordingMetadata
    duration_s: float
    warnings: tuple[str, ...]
    channels: tuple[ChannelHits, ...]
    """Hits of each channel that was scored by itself, in order, or of one signal."""
    speech: tuple[Segment, ...] = ()
    """Segments of human speech in any channel, if speech was looked for."""
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Rows that analyses of the recording's own samples computed, by their names."""

    @property
    def n_hits(self) -> int:
        """Number of hits in all channels."""
        return sum(len(each.hits) for each in self.channels)

    @property
    def kept_s(self) -> tuple[float, ...]:
        """Seconds of sound that windows are cut from, for each of `channels`."""
        return tuple(each.kept_s(self.duration_s) for each in self.channels)


@dataclass(frozen=True)
class FailedRecording:
    """A recording that could not be scored, and why."""

    path: Path
    reason: str


@dataclass
class _Stream:
    """One mono signal of a recording: batches go out to the inference threads and their hits come back in any order."""

    source: ChannelSource
    kept: Kept = WHOLE
    speech: tuple[Segment, ...] = ()
    hits: list[npt.NDArray[np.void]] = field(default_factory=list)

    def collect_hits(self) -> ChannelHits:
        """Return the hits in the order of windows."""
        hits = np.concatenate(self.hits) if self.hits else np.empty(0, HIT)
        channel = self.source if isinstance(self.source, int) else None
        return ChannelHits(hits[np.argsort(hits["window"], kind="stable")], self.kept, channel)


@dataclass
class _Pending:
    """A recording on its way, one stream after the other."""

    path: Path
    info: AudioInfo | None = None
    metadata: RecordingMetadata = field(default_factory=RecordingMetadata)
    duration_s: float = 0.0
    warnings: tuple[str, ...] = ()
    tables: dict[str, Table] = field(default_factory=dict)
    is_decoded: bool = False
    n_out: int = 0
    streams: list[_Stream] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count_channels(self) -> int:
        """Return the number of channels, of a recording that was opened."""
        return 1 if self.info is None else self.info.n_channels

    def add_hits(self, stream: _Stream, hits: npt.NDArray[np.void]) -> ScoredRecording | None:
        """Note what came back; the finished recording once nothing is out any more."""
        with self.lock:
            stream.hits.append(hits)
            self.n_out -= 1
            return self._build_result()

    def finish_decoding(self) -> ScoredRecording | None:
        """Note that all streams are decoded; the finished recording if nothing is out any more."""
        with self.lock:
            self.is_decoded = True
            return self._build_result()

    def _build_result(self) -> ScoredRecording | None:
        if self.n_out or not self.is_decoded or self.info is None:
            return None
        return ScoredRecording(
            path=self.path,
            info=self.info,
            metadata=self.metadata,
            duration_s=self.duration_s,
            warnings=tuple(dict.fromkeys(self.warnings)),
            channels=tuple(stream.collect_hits() for stream in self.streams),
            speech=join_overlapping(segment for stream in self.streams for segment in stream.speech),
            tables=self.tables,
        )


@dataclass(frozen=True)
class _Batch:
    recording: _Pending
    stream: _Stream
    first_window: int
    windows: FloatArray


def score_recordings(
    paths: Iterable[Path],
    bundle: Bundle,
    *,
    plan: WindowPlan,
    score_filter: ScoreFilter,
    n_workers: int,
    cleaner: Cleaner,
    tta_shifts: int = 1,
    channel: ChannelOption = "mean",
    speech_detector: VoiceActivityDetector | None = None,
    analyses: Sequence[Analysis] = (),
    on_windows: Callable[[int], None] | None = None,
) -> Generator[ScoredRecording | FailedRecording, None, None]:
    """Score every recording, in the order in which they finish.

    A recording that cannot be decoded gives a `FailedRecording` and touches no other. Memory is bounded by the number
    of workers, not by the length or number of recordings. The `cleaner` does what the bundle asks for. With a
    `speech_detector`, speech is detected as well. `tta_shifts`: see `open_session`. With the `channel` "each", channels
    are decoded and scored one after the other, as if each was a mono recording. The `analyses` get each recording's own
    samples, in its decoder. `on_windows` gets the number of
    windows that were scored, from any thread.

    Raises:
        ModelError: the bundle cannot be run.
    """
    pipeline = _Pipeline(
        paths,
        bundle,
        plan,
        score_filter,
        n_workers,
        cleaner,
        tta_shifts,
        channel,
        speech_detector,
        analyses,
        on_windows,
    )
    with ExitStack() as stack:
        stack.callback(pipeline.stop)
        yield from pipeline.results()


class _StoppedError(Exception):
    """The caller takes no more results."""


class _Pipeline:
    def __init__(
        self,
        paths: Iterable[Path],
        bundle: Bundle,
        plan: WindowPlan,
        score_filter: ScoreFilter,
        n_workers: int,
        cleaner: Cleaner,
        tta_shifts: int,
        channel: ChannelOption,
        speech_detector: VoiceActivityDetector | None,
        analyses: Sequence[Analysis],
        on_windows: Callable[[int], None] | None,
    ) -> None:
        self._paths = iter(paths)
        self._paths_lock = threading.Lock()
        self._bundle = bundle
        self._plan = plan
        self._score_filter = score_filter
        self._cleaner = cleaner
        self._tta_shifts = tta_shifts
        self._channel = channel
        self._speech_detector = speech_detector
        self._analyses = analyses
        self._on_windows = on_windows
        self._stopping = threading.Event()
        self._batches: queue.Queue[_Batch | None] = queue.Queue(_BATCHES_PER_WORKER * n_workers)
        self._done: queue.Queue[ScoredRecording | FailedRecording | BaseException | None] = queue.Queue(_DONE_AHEAD)
        self._decoders = [DecoderProcess() for _ in range(n_workers)]
        self._n_decoding = self._n_scoring = n_workers
        decoding = [partial(self._decode_all, decoder) for decoder in self._decoders]
        work: list[Callable[[], None]] = [*decoding, *[self._score_all] * n_workers]
        self._threads = [threading.Thread(target=self._guard, args=(task,), daemon=True) for task in work]

    def results(self) -> Iterator[ScoredRecording | FailedRecording]:
        for thread in self._threads:
            thread.start()
        while True:
            result = self._done.get()
            if result is None:
                return
            if isinstance(result, BaseException):
                raise result
            yield result

    def stop(self) -> None:
        self._stopping.set()
        for decoder in self._decoders:
            decoder.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)

    def _guard(self, work: Callable[[], None]) -> None:
        """Run a thread's work; what it does not handle goes to the caller."""
        try:
            work()
        except _StoppedError:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the caller's thread
            if not self._stopping.is_set():
                self._put(self._done, error)

    def _put(self, output: queue.Queue[Any], value: Any) -> None:
        while not self._stopping.is_set():
            try:
                output.put(value, timeout=0.2)
                return
            except queue.Full:
                continue
        raise _StoppedError

    def _next_batch(self) -> _Batch | None:
        while not self._stopping.is_set():
            try:
                return self._batches.get(timeout=0.2)
            except queue.Empty:
                continue
        raise _StoppedError

    def _next_path(self) -> Path | None:
        with self._paths_lock:
            return next(self._paths, None)

    # ------------------------------------------------------------------ decoding

    def _decode_all(self, decoder: DecoderProcess) -> None:
        with closing(decoder):  # also where the run is given up while it starts a process
            while (path := self._next_path()) is not None:
                try:
                    self._decode(decoder, path)
                except AudioError as error:
                    self._put(self._done, FailedRecording(path, str(error)))
            with self._paths_lock:
                self._n_decoding -= 1
                last = self._n_decoding == 0
        if last:
            for _ in range(self._n_scoring):
                self._put(self._batches, None)

    def _decode(self, decoder: DecoderProcess, path: Path) -> None:
        recording = _Pending(path)
        for source in channel_sources(self._channel, recording.count_channels):
            self._decode_stream(decoder, recording, source)
        self._finish(recording.finish_decoding())

    def _decode_stream(self, decoder: DecoderProcess, recording: _Pending, source: ChannelSource) -> None:
        """Decode one signal of a recording, and send its windows to the inference threads."""
        stream = _Stream(source)
        recording.streams.append(stream)
        windower = Windower(self._plan, batch=BATCH_WINDOWS)
        vad_stream = None
        if self._speech_detector is not None:
            vad_stream = VadStream(self._speech_detector, rate_hz=self._plan.rate_hz)
        first = 0
        rate_hz = self._plan.rate_hz
        # Analyses get all channels, so once is enough where channels are decoded one after the other.
        analyses = {} if recording.streams[1:] else {each.name: each.create() for each in self._analyses}
        request = self._cleaner.open(decoder, recording.path, rate_hz=rate_hz, channel=source, analyses=analyses)
        with request as opened:
            recording.info, recording.metadata = opened.info, opened.metadata
            stream.kept = opened.kept
            for block in opened.blocks():
                if vad_stream is not None:
                    vad_stream.add(block)
                for windows in windower.push(block):
                    self._send(recording, stream, first, windows)
                    first += len(windows)
            rest = windower.finish()
            if rest is not None:
                self._send(recording, stream, first, rest)
            if vad_stream is not None:
                stream.speech = tuple(
                    Segment(stream.kept.start_s(segment.start_s), stream.kept.end_s(segment.end_s))
                    for segment in vad_stream.finish()
                )
            recording.duration_s, recording.warnings = opened.duration_s, (*recording.warnings, *opened.warnings)
            recording.tables |= opened.tables

    def _send(self, recording: _Pending, stream: _Stream, first: int, windows: FloatArray) -> None:
        with recording.lock:
            recording.n_out += 1
        self._put(self._batches, _Batch(recording, stream, first, windows))

    def _finish(self, scored: ScoredRecording | None) -> None:
        if scored is not None:
            self._put(self._done, scored)

    # ------------------------------------------------------------------ scoring

    def _score_all(self) -> None:
        session = open_session(self._bundle, tta_shifts=self._tta_shifts)  # loads while the decoders begin
        carried: _Batch | None = None
        while True:
            batch = carried or self._next_batch()
            if batch is None:
                break
            group, carried, last = self._gather(batch)
            self._score(session, group)
            if last:
                break
        with self._paths_lock:
            self._n_scoring -= 1
            last = self._n_scoring == 0
        if last:
            self._put(self._done, None)

    def _gather(self, batch: _Batch) -> tuple[list[_Batch], _Batch | None, bool]:
        """Add batches of other short recordings that wait already, up to one full batch."""
        group, n = [batch], len(batch.windows)
        while n < BATCH_WINDOWS:
            try:
                other = self._batches.get_nowait()
            except queue.Empty:
                break
            if other is None:
                return group, None, True
            if n + len(other.windows) > BATCH_WINDOWS:
                return group, other, False
            group.append(other)
            n += len(other.windows)
        return group, None, False

    def _score(self, session: Session, group: list[_Batch]) -> None:
        windows = group[0].windows if len(group) == 1 else np.concatenate([b.windows for b in group])
        scores = apply_activation(session.run(windows).logits, self._bundle.info.activation)
        start = 0
        for batch in group:
            batch_scores = scores[start : start + len(batch.windows)]
            start += len(batch.windows)
            hits = self._score_filter.apply(batch_scores, batch.first_window)
            self._finish(batch.recording.add_hits(batch.stream, hits))
        if self._on_windows is not None:
            self._on_windows(len(windows))
