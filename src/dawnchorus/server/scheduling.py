"""Lanes: one thread for each core, each with a session of its own; uploads pass through them in fair slices.

A recording is decoded by a process that may be killed, and scored in slices of some windows; after each slice it goes
behind those that wait, so an hour of sound does not keep a clip of three seconds waiting. What runs keeps the bundle
that it began with, whatever is activated meanwhile.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.channels import channel_sources
from dawnchorus.audio.clock_report import ClockReport
from dawnchorus.audio.metadata import with_name
from dawnchorus.audio.process import DecodeFinished, DecoderProcess, DecodeStarted
from dawnchorus.audio.windows import RestReport, Windower, WindowPlan
from dawnchorus.cores import usable_cores
from dawnchorus.errors import AudioTooLargeError, InputError, ModelError, OverloadedError
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.options import Options
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.run import build_score_filter, range_filter_of
from dawnchorus.inference.preparation import WHOLE, Kept, open_cleaner
from dawnchorus.inference.scoring import HIT, ChannelHits, ScoredRecording, ScoreFilter
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import BATCH_WINDOWS, FloatArray, Session, apply_activation, open_session
from dawnchorus.models.store import ModelStore
from dawnchorus.types import AudioInfo, ChannelOption, ChannelSource, Origin, RecordingTable

FIRST_COST_S = 2e-8
"""Seconds of work for a byte, before any was measured."""

LEARNING_RATE, MAX_JUMP = 0.1, 10.0

LEAST_BYTES = 256 << 10
"""A smaller recording takes as long as one of so many bytes: what it costs is to open it, and a window."""


@dataclass(frozen=True)
class Limits:
    """Limits of one upload."""

    max_bytes: int = 512 << 20
    max_duration_s: float = 6 * 3600.0
    max_channels: int = 8
    min_rate_hz: int = 4_000
    max_rate_hz: int = 500_000
    wait_s: float = 30.0
    """An answer that would come later is not worked out."""
    max_queue_s: float = 10.0
    """Seconds of work for each inference thread that may wait; more is refused."""
    max_active_per_thread: int = 4
    """Recordings that may be under way at once, each with a decoder."""

    def check(self, *, n_channels: int, rate_hz: int, duration_s: float | None) -> None:
        """Refuse recordings whose headers promise more.

        Raises:
            AudioTooLargeError: it promises more.
        """
        if n_channels > self.max_channels or not self.min_rate_hz <= rate_hz <= self.max_rate_hz:
            raise AudioTooLargeError(
                f"expected at most {self.max_channels} channels at {self.min_rate_hz} to {self.max_rate_hz} Hz, "
                f"got {n_channels} at {rate_hz} Hz."
            )
        if duration_s is not None and duration_s > self.max_duration_s:
            raise AudioTooLargeError(
                f"expected at most {self.max_duration_s:g} s of sound, its header promises {duration_s:.0f} s."
            )


Stage = Literal["wait", "decode", "infer", "table"]


class _Watch:
    """Times of the stages."""

    def __init__(self) -> None:
        self.took_s: dict[Stage, float] = {"wait": 0.0, "decode": 0.0, "infer": 0.0, "table": 0.0}
        self._last = time.monotonic()

    def end(self, stage: Stage) -> None:
        """Count the time since the last call for this stage."""
        now = time.monotonic()
        self.took_s[stage] += now - self._last
        self._last = now

    @property
    def work_s(self) -> float:
        return sum(self.took_s.values()) - self.took_s["wait"]


@dataclass(frozen=True)
class Recognition:
    """Detections in a recording, and the bundle that made them."""

    table: RecordingTable
    bundle: Bundle
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """Sentences on time and place, as those of `dawnchorus identify`."""
    took_s: Mapping[Stage, float]


class _Active:
    """A bundle with a warmed session for each lane."""

    def __init__(self, bundle: Bundle, n_lanes: int, store: ModelStore) -> None:
        self.bundle = bundle
        self._store = store
        self._range_filter = lru_cache(maxsize=8)(self._new_range_filter)
        self.sessions: list[Session] = [open_session(bundle) for _ in range(n_lanes)]
        for session in self.sessions:
            logits = session.run(np.zeros((1, bundle.window_samples), np.float32)).logits
            if not np.isfinite(logits).all():
                raise ModelError(f"{bundle.folder}: on silence the model gives numbers that are not finite.")
        self.cleaner = open_cleaner(bundle.info.cleaning, store.folder)
        self.range_filter(Options())

    def range_filter(self, options: Options) -> RangeFilter | None:
        """Range filter; loading it takes longer than scoring a clip, so it is kept."""
        return self._range_filter(options.range_threshold, options.latitude is not None)

    def _new_range_filter(self, threshold: float, has_place: bool) -> RangeFilter | None:  # noqa: FBT001 - a cache's key
        place = 0.0 if has_place else None
        return range_filter_of(
            self.bundle, Options(range_threshold=threshold, latitude=place, longitude=place), None, self._store
        )


OnProgress = Callable[[float], None]

Steps = Generator[None, int, None]


@dataclass(frozen=True)
class _About:
    """Facts on a recording before it is opened."""

    name: str
    n_bytes: int
    on_progress: OnProgress


@dataclass(eq=False)
class _Task:
    future: Future[Any]
    steps: Steps
    work_s: float
    """Estimated."""
    deadline: float
    is_started: bool = False


@dataclass
class _Progress:
    """A recording on its way, one signal after the other."""

    active: _Active
    plan: WindowPlan
    score_filter: ScoreFilter
    channel: ChannelOption
    future: Future[Recognition]
    about: _About
    watch: _Watch = field(default_factory=_Watch)
    opened: DecodeStarted | None = None
    ended: list[DecodeFinished] = field(default_factory=list)
    channels: list[ChannelHits] = field(default_factory=list)

    def count_channels(self) -> int:
        """Return the number of channels, of a recording that was opened."""
        return 1 if self.opened is None else self.opened.info.n_channels

    def tell(self, n_windows: int) -> None:
        """Tell the share of the recording that is done, `n_windows` of the signal under way among it."""
        duration_s = None if self.opened is None else self.opened.info.duration_s
        if duration_s:
            share = min(self.plan.start_s(n_windows) / duration_s, 1.0)
            n_signals = self.count_channels() if self.channel == "each" else 1
            self.about.on_progress((len(self.channels) + share) / n_signals)

    def score(self, windows: FloatArray, first_window: int, thread: int) -> npt.NDArray[np.void]:
        """Return the hits in windows [n, samples], scored with the session of a thread, by its number."""
        logits = self.active.sessions[thread].run(windows).logits
        return self.score_filter.apply(apply_activation(logits, self.active.bundle.info.activation), first_window)


class Lanes:
    """Scores uploads on all cores; see the module."""

    def __init__(
        self, bundle: Bundle, *, store: ModelStore, n_lanes: int | None = None, limits: Limits | None = None
    ) -> None:
        """Load the bundle and start the lanes.

        Raises:
            ModelError: the bundle cannot be run.
        """
        self.limits = limits or Limits()
        self.n_lanes = n_lanes or usable_cores()
        self._store = store
        self._active = _Active(bundle, self.n_lanes, store)
        self._changed = threading.Condition()
        self._tasks: deque[_Task] = deque()
        self._n_started = 0
        self._cost_s = FIRST_COST_S
        self._closing = False
        self._idle_decoders: list[DecoderProcess] = []
        self._threads = [threading.Thread(target=self._work, args=(k,), daemon=True) for k in range(self.n_lanes)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bundle(self) -> Bundle:
        """Bundle that new uploads are scored with."""
        return self._active.bundle

    @property
    def _max_started(self) -> int:
        return self.limits.max_active_per_thread * self.n_lanes

    @property
    def n_waiting(self) -> int:
        """Recordings that wait or are between two slices."""
        return len(self._tasks)

    def activate(self, bundle: Bundle) -> None:
        """Score new uploads with another bundle; those under way are finished with the one that they began with.

        Raises:
            ModelError: it cannot be run; nothing changes.
        """
        self.prepared(bundle)()

    def prepared(self, bundle: Bundle) -> Callable[[], None]:
        """Load another bundle, and give what switches to it; see `activate`.

        Raises:
            ModelError: it cannot be run.
        """
        active = _Active(bundle, self.n_lanes, self._store)

        def use() -> None:
            self._active = active

        return use

    def warm(self, options: Options) -> None:
        """Load what the options ask for besides the bundle: the range model."""
        self._active.range_filter(options)

    def submit(
        self,
        path: Path,
        options: Options,
        *,
        name: str = "",
        patient: bool = False,
        on_progress: OnProgress = lambda _share: None,
    ) -> Future[Recognition]:
        """Score a recording; the file must stay until the future is done.

        `name` is what its sender called it, which may say when it was made. Who is `patient` is neither refused nor too
        late. `on_progress` is told the share that is done, where the length is known. The future raises AudioError for
        sound that cannot be decoded or is too much, and OverloadedError when its turn came too late.

        Raises:
            OverloadedError: too much is waiting already.
            InputError: options that the bundle cannot fulfil.
        """
        future: Future[Recognition] = Future()
        n_bytes = path.stat().st_size
        steps = self._steps(path, options, future, _About(name, n_bytes, on_progress))
        self._enqueue(future, steps, n_bytes, patient=patient)
        return future

    def submit_windows(self, windows: FloatArray) -> Future[tuple[FloatArray, Bundle]]:
        """Score windows [n, samples] that are decoded already; the scores [n, classes], and by which bundle.

        Raises:
            OverloadedError: too much is waiting already.
            InputError: windows of another length.
        """
        future: Future[tuple[FloatArray, Bundle]] = Future()
        # About as much work as a recording of 16 bits.
        self._enqueue(future, self._window_steps(windows, future), windows.nbytes // 2, patient=False)
        return future

    def check_room(self, n_bytes: int) -> None:
        """Refuse an upload of so many bytes if it would not be admitted.

        Raises:
            OverloadedError: too much is waiting already.
        """
        with self._changed:
            waiting_s = sum(task.work_s for task in self._tasks if not task.is_started)
            if waiting_s + self._work_s(n_bytes) > self.limits.max_queue_s * self.n_lanes:
                raise OverloadedError(
                    "too many recordings are waiting. Try again later.",
                    retry_after_s=max(waiting_s / self.n_lanes, 1.0),
                )

    def _work_s(self, n_bytes: int) -> float:
        """Seconds that a recording will probably take; one alone fills no more than a lane's share of the queue."""
        return min(max(n_bytes, LEAST_BYTES) * self._cost_s, self.limits.max_queue_s)

    def _learn_cost(self, n_bytes: int, took_s: float) -> None:
        """See what a byte costs; no single recording says so alone."""
        with self._changed:
            seen = min(took_s / max(n_bytes, LEAST_BYTES), MAX_JUMP * self._cost_s)
            self._cost_s += LEARNING_RATE * (seen - self._cost_s)

    def _enqueue(self, future: Future[Any], steps: Steps, n_bytes: int, *, patient: bool) -> None:
        with self._changed:
            if patient:
                task = _Task(future, steps, 0.0, math.inf)
            else:
                self.check_room(n_bytes)
                task = _Task(future, steps, self._work_s(n_bytes), time.monotonic() + self.limits.wait_s)
            next(task.steps)
            self._tasks.append(task)
            self._changed.notify()

    def close(self, *, grace_s: float = 30.0) -> None:
        """Finish what is under way or waits, for at most `grace_s`, and end."""
        until = time.monotonic() + grace_s
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        with self._changed:
            for task in self._tasks:
                task.future.cancel()
            self._tasks.clear()
            decoders, self._idle_decoders = self._idle_decoders, []
        for decoder in decoders:
            decoder.close()

    # ------------------------------------------------------------------ lanes

    def _work(self, lane: int) -> None:
        while (task := self._next()) is not None:
            try:
                task.steps.send(lane)
            except StopIteration:
                self._end()
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                self._end()
                with suppress(InvalidStateError):  # cancelled
                    task.future.set_exception(error)
            else:
                with self._changed:
                    self._tasks.append(task)
                    self._changed.notify()

    def _next(self) -> _Task | None:
        """Return the next task whose turn it is; None when the lanes are to end."""
        with self._changed:
            while (task := self._taken()) is None:
                if self._closing and not self._n_started:
                    self._changed.notify_all()
                    return None
                self._changed.wait(timeout=1.0)
            return task

    def _taken(self) -> _Task | None:
        """Take the first task that can continue or begin; those that have waited for too long are refused."""
        for task in tuple(self._tasks):
            is_late = task.future.cancelled() or time.monotonic() > task.deadline
            if not task.is_started and not is_late and self._n_started >= self._max_started:
                continue  # it keeps its place
            self._tasks.remove(task)
            if task.is_started or not is_late:
                self._n_started += not task.is_started
                task.is_started = True
                return task
            task.steps.close()
            late = f"It has waited for {self.limits.wait_s:g} s. Try again later."
            with suppress(InvalidStateError):  # cancelled
                task.future.set_exception(OverloadedError(late, retry_after_s=self.limits.wait_s))
        return None

    def _end(self) -> None:
        with self._changed:
            self._n_started -= 1
            self._changed.notify_all()

    # ------------------------------------------------------------------ one recording

    def _steps(self, path: Path, options: Options, future: Future[Recognition], about: _About) -> Steps:
        """Sent the number of a lane, score one slice on it; ends when the future is done."""
        active = self._active
        bundle = active.bundle
        rate_hz = bundle.info.sample_rate_hz
        plan = WindowPlan.from_seconds(rate_hz=rate_hz, window_s=bundle.info.window_s, overlap_s=options.overlap_s)
        builder = TableBuilder(bundle, plan, options, active.range_filter(options), {})
        progress = _Progress(active, plan, build_score_filter(bundle, options), options.channel, future, about)
        lane = yield
        progress.watch.end("wait")
        with self.decoder() as decoder:
            for source in channel_sources(options.channel, progress.count_channels):
                max_samples = round(self.limits.max_duration_s * rate_hz)
                parts = active.cleaner.decode(decoder, path, rate_hz=rate_hz, max_samples=max_samples, channel=source)
                lane = yield from self._stream_steps(parts, source, progress, lane)
        opened, ended = progress.opened, progress.ended
        if opened is None or not ended:
            raise ModelError("The decoder said neither what the recording is nor that it ended.")
        origin = with_name(opened.origin, about.name)
        warnings = tuple(dict.fromkeys(warning for each in ended for warning in each.warnings))
        scored = ScoredRecording(path, opened.info, origin, ended[0].duration_s, warnings, tuple(progress.channels))
        table = builder.build(scored)
        progress.watch.end("table")
        self._learn_cost(about.n_bytes, progress.watch.work_s)
        if future.set_running_or_notify_cancel():
            rest = _unscored_rest(about.name, plan, max(scored.kept_s, key=plan.rest_s))
            warnings = (*warnings, *_unused_options(options, table, builder.range_filter), *rest)
            notes = tuple(_notes_on_clock(about.name, table.origin))
            future.set_result(Recognition(table, bundle, warnings, notes, progress.watch.took_s))

    def _stream_steps(
        self,
        parts: Iterator[DecodeStarted | Kept | FloatArray | DecodeFinished],
        source: ChannelSource,
        progress: _Progress,
        lane: int,
    ) -> Generator[None, int, int]:
        """Score one signal of a recording, and return the lane that its last slice was scored on."""
        windower, kept, hits, n_windows = Windower(progress.plan, batch=BATCH_WINDOWS), WHOLE, [], 0
        for part in parts:
            if isinstance(part, DecodeStarted):
                progress.opened = part
                self._check(part.info)
                continue
            if isinstance(part, Kept):
                kept = part
                continue
            progress.watch.end("decode")
            if isinstance(part, DecodeFinished):
                progress.ended.append(part)
                rest = windower.finish()
                batches = [] if rest is None else [rest]
            else:
                batches = windower.push(part)
            for windows in batches:
                if n_windows or progress.channels:
                    lane = yield
                    progress.watch.end("wait")
                    if progress.future.cancelled():
                        raise CancelledError
                    progress.tell(n_windows)
                hits.append(progress.score(windows, n_windows, lane))
                n_windows += len(windows)
                progress.watch.end("infer")
        found = np.concatenate(hits) if hits else np.empty(0, HIT)
        progress.channels.append(ChannelHits(found, kept, source if isinstance(source, int) else None))
        return lane

    def _window_steps(self, windows: FloatArray, future: Future[tuple[FloatArray, Bundle]]) -> Steps:
        active = self._active
        if windows.shape[1] != active.bundle.window_samples:
            raise InputError(f"expected windows of {active.bundle.window_samples} samples, got {windows.shape[1]}.")
        scores = []
        for k in range(0, len(windows), BATCH_WINDOWS):
            lane = yield
            logits = active.sessions[lane].run(windows[k : k + BATCH_WINDOWS]).logits
            scores.append(apply_activation(logits, active.bundle.info.activation))
        if future.set_running_or_notify_cancel():
            future.set_result((np.concatenate(scores), active.bundle))

    def probe(self, path: Path) -> AudioInfo:
        """Read a recording's header and metadata.

        Raises:
            AudioError: it cannot be opened, or promises more than is taken.
        """
        with self.decoder() as decoder:
            opened = decoder.probe(path)
        self._check(opened.info)
        return opened.info

    def _check(self, info: AudioInfo) -> None:
        self.limits.check(n_channels=info.n_channels, rate_hz=info.rate_hz, duration_s=info.duration_s)

    @contextmanager
    def decoder(self) -> Generator[DecoderProcess, None, None]:
        """Yield a decoder process that nobody else uses meanwhile."""
        with self._changed:
            decoder = self._idle_decoders.pop() if self._idle_decoders else DecoderProcess()
        try:
            yield decoder
        finally:
            with self._changed:
                self._idle_decoders.append(decoder)


def _unused_options(options: Options, table: RecordingTable, range_filter: RangeFilter | None) -> Iterator[str]:
    """Yield a sentence for each option that had nothing to act on."""
    if options.latitude is not None and range_filter is not None and (note := range_filter.note()) is not None:
        yield note
    if options.week is not None and table.origin.latitude is None:
        yield f"week {options.week} has no effect: the recording has no place. Give lat and lon."


def _notes_on_clock(name: str, origin: Origin) -> Iterator[str]:
    """Yield sentences on a time that was not found or not understood, and on sources that contradict each other."""
    report = ClockReport()
    has_time = origin.start_time is not None
    report.add(name, has_time=has_time, conflict=origin.conflict, unread=origin.unread)
    yield from report.notes()


def _unscored_rest(name: str, plan: WindowPlan, duration_s: float) -> Iterator[str]:
    """Yield a sentence on the end of a recording that no window holds."""
    report = RestReport()
    report.add(name, plan, duration_s)
    note = report.note(plan)
    if note is not None:
        yield note
