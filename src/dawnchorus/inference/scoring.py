"""Recordings to scores with all cores: decoder processes work ahead of inference threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.channels import channel_sources
from dawnchorus.audio.process import DecoderProcess, Ended, Opened
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.errors import AudioError
from dawnchorus.inference.preparation import WHOLE, Cleaner, Kept
from dawnchorus.inference.speech import Listening, SpeechFinder, join_overlapping
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import BATCH_WINDOWS, Session, open_session, scores_of
from dawnchorus.types import AudioInfo, ChannelOption, ChannelSource, Origin, Span

FloatArray = npt.NDArray[np.float32]

HIT = np.dtype([("window", "<i4"), ("class", "<i4"), ("score", "<f4")])
"""One score at or above its threshold: the window's number, the class's output index, the score."""

_BATCHES_PER_LANE = 2
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
            # What is below the last place is not worth sorting; equal scores at the last place are sorted out below.
            last = np.partition(np.where(is_kept, scores, -np.inf), -self.top, axis=1)[:, -self.top]
            is_kept &= scores >= last[:, np.newaxis]
        rows, classes = np.nonzero(is_kept)
        found = np.empty(len(rows), HIT)
        found["window"] = rows + first_window
        found["class"] = classes
        found["score"] = scores[rows, classes]
        found = found[np.lexsort((found["class"], -found["score"], found["window"]))]
        if self.top is None or not len(found):
            return found
        starts = np.searchsorted(found["window"], found["window"], side="left")
        return found[np.arange(len(found)) - starts < self.top]


@dataclass(frozen=True)
class ChannelHits:
    """Hits in one channel of a recording, or in the one signal that was scored for all of them."""

    hits: npt.NDArray[np.void]
    kept: Kept = WHOLE
    """Spans of the recording that the bundle's cleaning keeps, and that windows are cut from."""
    channel: int | None = None
    """Number of the channel, from 1; None for one signal of all channels."""

    def kept_s(self, duration_s: float) -> float:
        """Return the seconds of sound that windows are cut from, of a recording of this length."""
        return duration_s if self.kept.is_whole else sum(span.length_s for span in self.kept.spans)


@dataclass(frozen=True)
class Scored:
    """A recording that was scored to its end."""

    path: Path
    info: AudioInfo
    origin: Origin
    duration_s: float
    warnings: tuple[str, ...]
    channels: tuple[ChannelHits, ...]
    """Hits of each channel that was scored by itself, in order, or of one signal."""
    speech: tuple[Span, ...] = ()
    """Spans of human speech in any channel, if voices were looked for."""

    @property
    def n_hits(self) -> int:
        """Number of hits in all channels."""
        return sum(len(each.hits) for each in self.channels)

    @property
    def kept_s(self) -> tuple[float, ...]:
        """Seconds of sound that windows are cut from, for each of `channels`."""
        return tuple(each.kept_s(self.duration_s) for each in self.channels)


@dataclass(frozen=True)
class Failed:
    """A recording that could not be scored, and why."""

    path: Path
    reason: str


@dataclass
class _Stream:
    """One mono signal of a recording: batches go out to the lanes and their hits come back in any order."""

    source: ChannelSource
    kept: Kept = WHOLE
    speech: tuple[Span, ...] = ()
    ended: Ended | None = None
    hits: list[npt.NDArray[np.void]] = field(default_factory=list)

    def ordered(self) -> ChannelHits:
        """Return the hits in the order of windows."""
        found = np.concatenate(self.hits) if self.hits else np.empty(0, HIT)
        channel = self.source if isinstance(self.source, int) else None
        return ChannelHits(found[np.argsort(found["window"], kind="stable")], self.kept, channel)


@dataclass
class _Pending:
    """A recording on its way, one stream after the other."""

    path: Path
    opened: Opened | None = None
    is_decoded: bool = False
    n_out: int = 0
    streams: list[_Stream] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count_channels(self) -> int:
        """Return the number of channels, of a recording that was opened."""
        return 1 if self.opened is None else self.opened.info.n_channels

    def take_back(self, stream: _Stream, hits: npt.NDArray[np.void]) -> Scored | None:
        """Note what came back; the finished recording once nothing is out any more."""
        with self.lock:
            stream.hits.append(hits)
            self.n_out -= 1
            return self._finished()

    def end(self) -> Scored | None:
        """Note that all streams are decoded; the finished recording if nothing is out any more."""
        with self.lock:
            self.is_decoded = True
            return self._finished()

    def _finished(self) -> Scored | None:
        ended = [stream.ended for stream in self.streams if stream.ended is not None]
        if self.n_out or not self.is_decoded or self.opened is None or not ended:
            return None
        return Scored(
            path=self.path,
            info=self.opened.info,
            origin=self.opened.origin,
            duration_s=ended[0].duration_s,
            warnings=tuple(dict.fromkeys(warning for each in ended for warning in each.warnings)),
            channels=tuple(stream.ordered() for stream in self.streams),
            speech=join_overlapping(span for stream in self.streams for span in stream.speech),
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
    turns: int = 1,
    channel: ChannelOption = "mean",
    speech_finder: SpeechFinder | None = None,
    on_windows: Callable[[int], None] | None = None,
) -> Generator[Scored | Failed, None, None]:
    """Score every recording, in the order in which they finish.

    A recording that cannot be decoded gives a `Failed` and touches no other. Memory is bounded by the number of
    workers, not by the length or number of recordings. The `cleaner` does what the bundle asks for. With a
    `speech_finder`, voices are looked for as well. `turns`: see `open_session`. With the `channel` "each", channels are
    decoded and scored one after the other, as if each was a mono recording. `on_windows` is told how many windows were
    scored, from any thread.

    Raises:
        ModelError: the bundle cannot be run.
    """
    pipeline = _Pipeline(
        paths, bundle, plan, score_filter, n_workers, cleaner, turns, channel, speech_finder, on_windows
    )
    with ExitStack() as stack:
        stack.callback(pipeline.stop)
        yield from pipeline.results()


class _Stopped(Exception):
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
        turns: int,
        channel: ChannelOption,
        speech_finder: SpeechFinder | None,
        on_windows: Callable[[int], None] | None,
    ) -> None:
        self._paths = iter(paths)
        self._paths_lock = threading.Lock()
        self._bundle = bundle
        self._plan = plan
        self._score_filter = score_filter
        self._cleaner = cleaner
        self._turns = turns
        self._channel = channel
        self._speech_finder = speech_finder
        self._on_windows = on_windows
        self._stopping = threading.Event()
        self._batches: queue.Queue[_Batch | None] = queue.Queue(_BATCHES_PER_LANE * n_workers)
        self._done: queue.Queue[Scored | Failed | BaseException | None] = queue.Queue(_DONE_AHEAD)
        self._decoders = [DecoderProcess() for _ in range(n_workers)]
        self._n_decoding = self._n_scoring = n_workers
        decoding = [partial(self._decode_all, decoder) for decoder in self._decoders]
        work: list[Callable[[], None]] = [*decoding, *[self._score_all] * n_workers]
        self._threads = [threading.Thread(target=self._guard, args=(part,), daemon=True) for part in work]

    def results(self) -> Iterator[Scored | Failed]:
        for thread in self._threads:
            thread.start()
        while True:
            item = self._done.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

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
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the caller's thread
            if not self._stopping.is_set():
                self._put(self._done, error)

    def _put(self, target: queue.Queue[Any], item: Any) -> None:
        while not self._stopping.is_set():
            try:
                target.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
        raise _Stopped

    def _take(self) -> _Batch | None:
        while not self._stopping.is_set():
            try:
                return self._batches.get(timeout=0.2)
            except queue.Empty:
                continue
        raise _Stopped

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
                    self._put(self._done, Failed(path, str(error)))
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
        self._finish(recording.end())

    def _decode_stream(self, decoder: DecoderProcess, recording: _Pending, source: ChannelSource) -> None:
        """Decode one signal of a recording, and send its windows to the lanes."""
        stream = _Stream(source)
        recording.streams.append(stream)
        windower = Windower(self._plan, batch=BATCH_WINDOWS)
        listening = None
        if self._speech_finder is not None:
            listening = Listening(self._speech_finder, rate_hz=self._plan.rate_hz)
        first = 0
        for part in self._cleaner.decode(decoder, recording.path, rate_hz=self._plan.rate_hz, channel=source):
            if isinstance(part, Opened):
                recording.opened = part
            elif isinstance(part, Kept):
                stream.kept = part
            elif isinstance(part, Ended):
                rest = windower.finish()
                if rest is not None:
                    self._send(recording, stream, first, rest)
                if listening is not None:
                    stream.speech = tuple(
                        Span(stream.kept.start_s(span.start_s), stream.kept.end_s(span.end_s))
                        for span in listening.finish()
                    )
                stream.ended = part
            else:
                if listening is not None:
                    listening.add(part)
                for windows in windower.push(part):
                    self._send(recording, stream, first, windows)
                    first += len(windows)

    def _send(self, recording: _Pending, stream: _Stream, first: int, windows: FloatArray) -> None:
        with recording.lock:
            recording.n_out += 1
        self._put(self._batches, _Batch(recording, stream, first, windows))

    def _finish(self, scored: Scored | None) -> None:
        if scored is not None:
            self._put(self._done, scored)

    # ------------------------------------------------------------------ scoring

    def _score_all(self) -> None:
        session = open_session(self._bundle, turns=self._turns)  # loads while the decoders begin
        carried: _Batch | None = None
        while True:
            batch = carried or self._take()
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
        scores = scores_of(session.run(windows).logits, self._bundle.info.activation)
        start = 0
        for batch in group:
            part = scores[start : start + len(batch.windows)]
            start += len(batch.windows)
            hits = self._score_filter.apply(part, batch.first_window)
            self._finish(batch.recording.take_back(batch.stream, hits))
        if self._on_windows is not None:
            self._on_windows(len(windows))
