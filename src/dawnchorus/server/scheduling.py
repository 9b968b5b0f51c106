"""Inference pool: one thread per core, each with its own session; uploads are scored in fair slices.

A recording is decoded in a process that can be killed, and scored in slices of a few windows. After each slice it goes
to the end of the queue, so an hour of audio does not delay a clip of three seconds. A recording keeps the bundle that
it started with, even if another one is activated meanwhile.
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
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.windows import RestReport, Windower, WindowPlan
from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError, ModelError, OverloadedError
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.options import DEFAULT_RANGE_THRESHOLD, Options
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.run import build_score_filter, open_range_filter
from dawnchorus.inference.model import Model
from dawnchorus.inference.preparation import CleanedRecording, open_cleaner
from dawnchorus.inference.scoring import HIT, ChannelHits, ScoredRecording, ScoreFilter
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import BATCH_WINDOWS, FloatArray, Session, apply_activation, open_session
from dawnchorus.models.store import ModelStore
from dawnchorus.types import AudioInfo, ChannelOption, ChannelSource, RecordingMetadata, RecordingTable

FIRST_COST_S = 2e-8
"""Seconds of work per byte before the first measurement."""

LEARNING_RATE, MAX_JUMP = 0.1, 10.0

LEAST_BYTES = 256 << 10
"""Minimum size for estimates of work: a smaller recording still has to be opened, and has one window."""


Stage = Literal["wait", "decode", "infer", "table"]


class _StageTimer:
    """Seconds spent in each stage of a request."""

    def __init__(self) -> None:
        self.stage_s: dict[Stage, float] = {"wait": 0.0, "decode": 0.0, "infer": 0.0, "table": 0.0}
        self._last = time.monotonic()

    def finish(self, stage: Stage) -> None:
        """Add the time since the last call to a stage."""
        now = time.monotonic()
        self.stage_s[stage] += now - self._last
        self._last = now

    @property
    def work_s(self) -> float:
        return sum(self.stage_s.values()) - self.stage_s["wait"]


@dataclass(frozen=True)
class IdentifyResult:
    """Detections in a recording, and the bundle that made them."""

    table: RecordingTable
    bundle: Bundle
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """Sentences on time and location, as those of `dawnchorus identify`."""
    stage_s: Mapping[Stage, float]


class _Active:
    """A bundle with a warmed-up session for each inference thread."""

    def __init__(self, bundle: Bundle, n_inference_threads: int, store: ModelStore) -> None:
        self.bundle = bundle
        self._store = store
        self._range_filter = lru_cache(maxsize=8)(self._new_range_filter)
        self.sessions: list[Session] = [open_session(bundle) for _ in range(n_inference_threads)]
        for session in self.sessions:
            logits = session.run(np.zeros((1, bundle.window_samples), np.float32)).logits
            if not np.isfinite(logits).all():
                raise ModelError(f"{bundle.folder}: on silence the model gives numbers that are not finite.")
        self.cleaner = open_cleaner(bundle.info.cleaning, store.folder)
        self.range_filter(Options())

    def range_filter(self, options: Options) -> RangeFilter | None:
        """Return the cached range filter, since loading it takes longer than scoring a clip."""
        return self._range_filter(options.range_threshold, options.latitude is not None)

    def _new_range_filter(self, threshold: float, has_location: bool) -> RangeFilter | None:  # noqa: FBT001 - a cache's key
        coordinate = 0.0 if has_location else None
        options = Options(range_threshold=threshold, latitude=coordinate, longitude=coordinate)
        return open_range_filter(Model(self.bundle, self._store), options, None)


OnProgress = Callable[[float], None]

Steps = Generator[None, int, None]


@dataclass(frozen=True)
class _UploadInfo:
    """Properties of an upload that are known before it is opened."""

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
class _RecordingProgress:
    """State of a recording in progress; its signals are scored one after the other."""

    active: _Active
    plan: WindowPlan
    score_filter: ScoreFilter
    channel: ChannelOption
    future: Future[IdentifyResult]
    upload: _UploadInfo
    timer: _StageTimer = field(default_factory=_StageTimer)
    info: AudioInfo | None = None
    metadata: RecordingMetadata = field(default_factory=RecordingMetadata)
    duration_s: float = 0.0
    warnings: tuple[str, ...] = ()
    channels: list[ChannelHits] = field(default_factory=list)

    def count_channels(self) -> int:
        """Return the number of channels; 1 before the recording is opened."""
        return 1 if self.info is None else self.info.n_channels

    def report(self, n_windows: int) -> None:
        """Report the share of the recording that is done, including `n_windows` of the current signal."""
        duration_s = None if self.info is None else self.info.duration_s
        if duration_s:
            share = min(self.plan.start_s(n_windows) / duration_s, 1.0)
            n_signals = self.count_channels() if self.channel == "each" else 1
            self.upload.on_progress((len(self.channels) + share) / n_signals)

    def score(self, windows: FloatArray, first_window: int, thread: int) -> npt.NDArray[np.void]:
        """Return the hits in windows [n, samples], scored with the session of a thread, by its number."""
        logits = self.active.sessions[thread].run(windows).logits
        return self.score_filter.apply(apply_activation(logits, self.active.bundle.info.activation), first_window)


class InferencePool:
    """Threads that score uploads on all cores; see the module."""

    def __init__(
        self, bundle: Bundle, *, store: ModelStore, n_inference_threads: int | None = None, limits: Limits | None = None
    ) -> None:
        """Load the bundle and start the threads.

        Raises:
            ModelError: the bundle cannot be run.
        """
        self.limits = limits or Limits()
        self.n_inference_threads = n_inference_threads or usable_cores()
        self._store = store
        self._active = _Active(bundle, self.n_inference_threads, store)
        self._changed = threading.Condition()
        self._tasks: deque[_Task] = deque()
        self._n_active = 0
        self._cost_s = FIRST_COST_S
        self._closing = False
        self._idle_decoders: list[DecoderProcess] = []
        self._threads = [
            threading.Thread(target=self._run_thread, args=(k,), daemon=True) for k in range(self.n_inference_threads)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bundle(self) -> Bundle:
        """Bundle that scores new uploads."""
        return self._active.bundle

    @property
    def _max_active(self) -> int:
        return self.limits.max_active_per_thread * self.n_inference_threads

    @property
    def n_waiting(self) -> int:
        """Number of recordings that wait or are between two slices."""
        return len(self._tasks)

    def activate(self, bundle: Bundle) -> None:
        """Score new uploads with another bundle; recordings in progress keep the one that they started with.

        Raises:
            ModelError: it cannot be run; nothing changes.
        """
        self.load(bundle)()

    def load(self, bundle: Bundle) -> Callable[[], None]:
        """Load another bundle and return a function that switches to it; see `activate`.

        Raises:
            ModelError: it cannot be run.
        """
        active = _Active(bundle, self.n_inference_threads, self._store)

        def switch() -> None:
            self._active = active

        return switch

    def warm(self, options: Options) -> None:
        """Load the range model if the options need it."""
        self._active.range_filter(options)

    def submit(
        self,
        path: Path,
        options: Options,
        *,
        name: str = "",
        bypass_queue_limit: bool = False,
        on_progress: OnProgress = lambda _share: None,
    ) -> Future[IdentifyResult]:
        """Score a recording; the file must stay until the future is done.

        Args:
            path: The recording.
            options: Options of the run.
            name: The client's name of the file, which may contain the time of the recording.
            bypass_queue_limit: True for background jobs, which are neither rejected nor too late.
            on_progress: Called with the share that is done, if the length is known.

        Returns:
            A future that raises AudioError if the recording cannot be decoded or exceeds the limits, and
            OverloadedError if it has waited too long.

        Raises:
            OverloadedError: the queue is full.
            InputError: the bundle does not support the options.
        """
        future: Future[IdentifyResult] = Future()
        n_bytes = path.stat().st_size
        steps = self._steps(path, options, future, _UploadInfo(name, n_bytes, on_progress))
        self._enqueue(future, steps, n_bytes, bypass_queue_limit=bypass_queue_limit)
        return future

    def submit_windows(self, windows: FloatArray) -> Future[tuple[FloatArray, Bundle]]:
        """Score decoded windows [n, samples]; the future returns scores [n, classes] and the bundle.

        Raises:
            OverloadedError: the queue is full.
            InputError: windows of another length.
        """
        future: Future[tuple[FloatArray, Bundle]] = Future()
        # As much work as a recording of 16 bits.
        self._enqueue(future, self._window_steps(windows, future), windows.nbytes // 2, bypass_queue_limit=False)
        return future

    def check_room(self, n_bytes: int) -> None:
        """Raise if an upload of `n_bytes` does not fit into the queue.

        Raises:
            OverloadedError: the queue is full.
        """
        with self._changed:
            waiting_s = sum(task.work_s for task in self._tasks if not task.is_started)
            if waiting_s + self._work_s(n_bytes) > self.limits.max_queue_s * self.n_inference_threads:
                raise OverloadedError(
                    "too many recordings are waiting. Try again later.",
                    retry_after_s=max(waiting_s / self.n_inference_threads, 1.0),
                )

    def _work_s(self, n_bytes: int) -> float:
        """Return the estimated work of a recording, at most one thread's share of the queue."""
        return min(max(n_bytes, LEAST_BYTES) * self._cost_s, self.limits.max_queue_s)

    def _update_cost(self, n_bytes: int, elapsed_s: float) -> None:
        """Update the moving average of the cost of a byte; a single recording has little weight."""
        with self._changed:
            cost_s = min(elapsed_s / max(n_bytes, LEAST_BYTES), MAX_JUMP * self._cost_s)
            self._cost_s += LEARNING_RATE * (cost_s - self._cost_s)

    def _enqueue(self, future: Future[Any], steps: Steps, n_bytes: int, *, bypass_queue_limit: bool) -> None:
        with self._changed:
            if bypass_queue_limit:
                task = _Task(future, steps, 0.0, math.inf)
            else:
                self.check_room(n_bytes)
                task = _Task(future, steps, self._work_s(n_bytes), time.monotonic() + self.limits.wait_s)
            next(task.steps)
            self._tasks.append(task)
            self._changed.notify()

    def close(self, *, grace_s: float = 30.0) -> None:
        """Finish the recordings in progress and in the queue within `grace_s`, and stop."""
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

    # ------------------------------------------------------------------ threads

    def _run_thread(self, thread: int) -> None:
        while (task := self._next_task()) is not None:
            try:
                task.steps.send(thread)
            except StopIteration:
                self._finish_task()
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                self._finish_task()
                with suppress(InvalidStateError):  # cancelled
                    task.future.set_exception(error)
            else:
                with self._changed:
                    self._tasks.append(task)
                    self._changed.notify()

    def _next_task(self) -> _Task | None:
        """Wait for the next task that can run; return None when the pool shuts down."""
        with self._changed:
            while (task := self._pop_ready_task()) is None:
                if self._closing and not self._n_active:
                    self._changed.notify_all()
                    return None
                self._changed.wait(timeout=1.0)
            return task

    def _pop_ready_task(self) -> _Task | None:
        """Remove and return the first task that can continue or start; reject those that have waited too long."""
        for task in tuple(self._tasks):
            is_late = task.future.cancelled() or time.monotonic() > task.deadline
            if not task.is_started and not is_late and self._n_active >= self._max_active:
                continue  # it keeps its position
            self._tasks.remove(task)
            if task.is_started or not is_late:
                self._n_active += not task.is_started
                task.is_started = True
                return task
            task.steps.close()
            late = f"It has waited for {self.limits.wait_s:g} s. Try again later."
            with suppress(InvalidStateError):  # cancelled
                task.future.set_exception(OverloadedError(late, retry_after_s=self.limits.wait_s))
        return None

    def _finish_task(self) -> None:
        with self._changed:
            self._n_active -= 1
            self._changed.notify_all()

    # ------------------------------------------------------------------ one recording

    def _steps(self, path: Path, options: Options, future: Future[IdentifyResult], upload: _UploadInfo) -> Steps:
        """Score one slice for each thread number that is sent; end when the future is done."""
        active = self._active
        bundle = active.bundle
        rate_hz = bundle.info.sample_rate_hz
        plan = WindowPlan.from_seconds(rate_hz=rate_hz, window_s=bundle.info.window_s, overlap_s=options.overlap_s)
        builder = TableBuilder(bundle, plan, options, active.range_filter(options), {})
        progress = _RecordingProgress(
            active, plan, build_score_filter(bundle, options), options.channel, future, upload
        )
        thread = yield
        progress.timer.finish("wait")
        with self.decoder() as decoder:
            for source in channel_sources(options.channel, progress.count_channels):
                max_samples = round(self.limits.max_duration_s * rate_hz)
                opened = active.cleaner.open(decoder, path, rate_hz=rate_hz, max_samples=max_samples, channel=source)
                thread = yield from self._stream_steps(opened, source, progress, thread)
        if progress.info is None:
            raise ModelError("The recording has no channel.")
        metadata = with_name(progress.metadata, upload.name)
        warnings = tuple(dict.fromkeys(progress.warnings))
        scored = ScoredRecording(path, progress.info, metadata, progress.duration_s, warnings, tuple(progress.channels))
        table = builder.build(scored)
        progress.timer.finish("table")
        self._update_cost(upload.n_bytes, progress.timer.work_s)
        if future.set_running_or_notify_cancel():
            rest = _unscored_rest(upload.name, plan, max(scored.kept_s, key=plan.rest_s))
            warnings = (*warnings, *_unused_options(options, table, builder.range_filter), *rest)
            notes = tuple(_notes_on_clock(upload.name, table.metadata))
            future.set_result(IdentifyResult(table, bundle, warnings, notes, progress.timer.stage_s))

    def _stream_steps(
        self,
        opened: CleanedRecording,
        source: ChannelSource,
        progress: _RecordingProgress,
        thread: int,
    ) -> Generator[None, int, int]:
        """Score one signal of a recording and return the thread of its last slice."""
        windower, hits, n_windows = Windower(progress.plan, batch=BATCH_WINDOWS), [], 0
        with opened as recording:
            progress.info, progress.metadata = recording.info, recording.metadata
            self._check(recording.info)
            for windows in _windows(recording, windower):
                progress.timer.finish("decode")
                if n_windows or progress.channels:
                    thread = yield
                    progress.timer.finish("wait")
                    if progress.future.cancelled():
                        raise CancelledError
                    progress.report(n_windows)
                hits.append(progress.score(windows, n_windows, thread))
                n_windows += len(windows)
                progress.timer.finish("infer")
            progress.timer.finish("decode")
            progress.duration_s = recording.duration_s
            progress.warnings = (*progress.warnings, *recording.warnings)
        all_hits = np.concatenate(hits) if hits else np.empty(0, HIT)
        progress.channels.append(ChannelHits(all_hits, recording.kept, source if isinstance(source, int) else None))
        return thread

    def _window_steps(self, windows: FloatArray, future: Future[tuple[FloatArray, Bundle]]) -> Steps:
        active = self._active
        if windows.shape[1] != active.bundle.window_samples:
            raise InputError(f"expected windows of {active.bundle.window_samples} samples, got {windows.shape[1]}.")
        scores = []
        for k in range(0, len(windows), BATCH_WINDOWS):
            thread = yield
            logits = active.sessions[thread].run(windows[k : k + BATCH_WINDOWS]).logits
            scores.append(apply_activation(logits, active.bundle.info.activation))
        if future.set_running_or_notify_cancel():
            future.set_result((np.concatenate(scores), active.bundle))

    def probe(self, path: Path) -> AudioInfo:
        """Read a recording's header and metadata.

        Raises:
            AudioError: it cannot be opened, or exceeds the limits.
        """
        with self.decoder() as decoder:
            opened = decoder.probe(path)
        self._check(opened.info)
        return opened.info

    def _check(self, info: AudioInfo) -> None:
        self.limits.check(n_channels=info.n_channels, rate_hz=info.rate_hz, duration_s=info.duration_s)

    @contextmanager
    def decoder(self) -> Generator[DecoderProcess, None, None]:
        """Yield a decoder process for exclusive use."""
        with self._changed:
            decoder = self._idle_decoders.pop() if self._idle_decoders else DecoderProcess()
        try:
            yield decoder
        finally:
            with self._changed:
                self._idle_decoders.append(decoder)


def _windows(recording: CleanedRecording, windower: Windower) -> Iterator[FloatArray]:
    """Yield the windows [n, samples] of a recording."""
    for block in recording.blocks():
        yield from windower.push(block)
    rest = windower.finish()
    if rest is not None:
        yield rest


def _unused_options(options: Options, table: RecordingTable, range_filter: RangeFilter | None) -> Iterator[str]:
    """Yield a warning for each option without effect."""
    if options.latitude is not None and range_filter is not None and (note := range_filter.note()) is not None:
        yield note
    if options.week is not None and table.metadata.latitude is None:
        yield f"week {options.week} has no effect: the recording has no location. Give lat and lon."
    if options.range_threshold != DEFAULT_RANGE_THRESHOLD and table.metadata.latitude is None:
        yield (
            f"range_threshold {options.range_threshold:g} has no effect: the recording has no location. Give lat and "
            f"lon."
        )


def _notes_on_clock(name: str, metadata: RecordingMetadata) -> Iterator[str]:
    """Yield sentences on a time that was not found or not understood, and on sources that contradict each other."""
    report = ClockReport()
    has_time = metadata.start_time is not None
    report.add(name, has_time=has_time, conflict=metadata.conflict, unread=metadata.unread)
    yield from report.notes()


def _unscored_rest(name: str, plan: WindowPlan, duration_s: float) -> Iterator[str]:
    """Yield a warning if no window covers the end of a recording."""
    report = RestReport()
    report.add(name, plan, duration_s)
    note = report.note(plan)
    if note is not None:
        yield note
