"""Inference pool: uploads on the inference engine, with limits, deadlines and a model that can be switched.

Fairness is the engine's: an hour of audio does not delay a clip of three seconds. A recording keeps the bundle that it
was submitted with, even if another one is activated meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.clock_report import ClockReport
from dawnchorus.audio.metadata import with_name
from dawnchorus.audio.process import DecoderProcess, RecordingHeader
from dawnchorus.audio.windows import RestReport, WindowPlan
from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError, OverloadedError
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.options import DEFAULT_RANGE_THRESHOLD, Options
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.run import build_scoring_plan, open_range_filter
from dawnchorus.inference.analyses.windows import WindowOutput
from dawnchorus.inference.engine import InferenceEngine
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.model import Model
from dawnchorus.inference.recording import RecordingWork
from dawnchorus.inference.work import NumberedWindows, WorkFuture
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import BATCH_WINDOWS
from dawnchorus.models.store import ModelStore
from dawnchorus.types import RecordingMetadata, RecordingTable

FIRST_COST_S = 2e-8
"""Seconds of work per byte before the first measurement."""

LEARNING_RATE, MAX_JUMP = 0.1, 10.0

LEAST_BYTES = 256 << 10
"""Minimum size for estimates of work: a smaller recording still has to be opened, and has one window."""


Stage = Literal["wait", "decode", "infer", "table"]


@dataclass(frozen=True)
class IdentifyResult:
    """Detections in a recording, and the bundle that scored it."""

    table: RecordingTable
    bundle: Bundle
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """Sentences on time and location, as those of `dawnchorus identify`."""
    stage_s: Mapping[Stage, float]


class CostEstimate:
    """Moving average of the seconds of work per byte of an upload."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cost_s = FIRST_COST_S

    def work_s(self, n_bytes: int) -> float:
        """Return the estimated work of a recording."""
        return max(n_bytes, LEAST_BYTES) * self._cost_s

    def update(self, n_bytes: int, elapsed_s: float) -> None:
        """Update the average with the measured work of a recording."""
        with self._lock:
            cost_s = min(elapsed_s / max(n_bytes, LEAST_BYTES), MAX_JUMP * self._cost_s)
            self._cost_s += LEARNING_RATE * (cost_s - self._cost_s)


class ServedModel:
    """A bundle with its inference sessions and range filters."""

    def __init__(self, bundle: Bundle, store: ModelStore) -> None:
        self.bundle, self._store = bundle, store
        self.loaded = LoadedModel.open(bundle, store.folder)
        self._range_filter = lru_cache(maxsize=8)(self._new_range_filter)

    def warm_up(self, n_threads: int) -> None:
        """Load everything that uploads without a location need.

        Raises:
            ModelError: the bundle cannot be run.
        """
        self.loaded.sessions.warm_up(n_threads)
        self.range_filter(Options())

    def range_filter(self, options: Options) -> RangeFilter | None:
        """Return the cached range filter, since loading it takes longer than scoring a clip."""
        return self._range_filter(options.range_threshold, options.latitude is not None)

    def _new_range_filter(self, threshold: float, has_location: bool) -> RangeFilter | None:  # noqa: FBT001 - a cache's key
        coordinate = 0.0 if has_location else None
        options = Options(range_threshold=threshold, latitude=coordinate, longitude=coordinate)
        return open_range_filter(Model(self.bundle, self._store), options, None)


class Upload:
    """An upload in the inference engine (`work.Work`): a recording whose result is a table."""

    def __init__(
        self, recording: RecordingWork, builder: TableBuilder, options: Options, name: str, costs: CostEstimate
    ) -> None:
        self.model, self.needs_embeddings = recording.model, recording.needs_embeddings
        self._recording, self._builder, self._options, self._name = recording, builder, options, name
        self._costs, self._n_bytes = costs, recording.path.stat().st_size
        self._stage_s: dict[Stage, float] = {"wait": 0.0, "decode": 0.0, "infer": 0.0, "table": 0.0}
        self._submitted_s = time.monotonic()
        self._pulled_s: dict[int, float] = {}
        """Times at which windows were pulled whose output was not added yet."""

    @property
    def share_done(self) -> float:
        """Share of the recording that is scored; see `RecordingWork`."""
        return self._recording.share_done

    def open(self) -> None:
        """Begin to decode."""
        self._recording.open()

    def is_ready(self, *, within_s: float) -> bool:
        """Return True if the decoder has something."""
        return self._recording.is_ready(within_s=within_s)

    def next_windows(self) -> NumberedWindows | None:
        """Return the next windows; see `RecordingWork`."""
        start_s = time.monotonic()
        windows = self._recording.next_windows()
        end_s = time.monotonic()
        self._stage_s["decode"] += end_s - start_s
        if windows is not None:
            self._pulled_s[windows.first] = end_s
        return windows

    def add(self, first_window: int, output: WindowOutput) -> None:
        """Add the output for windows."""
        self._stage_s["infer"] += time.monotonic() - self._pulled_s.pop(first_window)
        self._recording.add(first_window, output)

    def result(self) -> IdentifyResult:
        """Return the table."""
        scored = self._recording.result()
        scored = replace(scored, metadata=with_name(scored.metadata, self._name))
        start_s = time.monotonic()
        table = self._builder.build(scored)
        self._stage_s["table"] = time.monotonic() - start_s
        work_s = sum(self._stage_s.values())
        self._stage_s["wait"] = max(time.monotonic() - self._submitted_s - work_s, 0.0)
        self._costs.update(self._n_bytes, work_s)
        plan = self._builder.plan
        warnings = (
            *scored.warnings,
            *_unused_options(self._options, table, self._builder.range_filter),
            *_unscored_rest(self._name, plan, max(scored.kept_s, key=plan.rest_s)),
        )
        notes = tuple(_notes_on_clock(self._name, table.metadata))
        return IdentifyResult(table, self.model.bundle, warnings, notes, self._stage_s)

    def close(self) -> None:
        """Give up what is left to decode."""
        self._recording.close()


class DecodedWindows:
    """Windows [n, samples] in the inference engine (`work.Work`), whose result are scores [n, classes]."""

    needs_embeddings = False

    def __init__(self, windows: FloatArray, model: LoadedModel) -> None:
        self.model = model
        self._starts = iter(range(0, len(windows), BATCH_WINDOWS))
        self._windows = windows
        self._scores = np.empty((len(windows), len(model.bundle.labels)), np.float32)

    @property
    def share_done(self) -> float:
        """Not known: they are few."""
        return 0.0

    def open(self) -> None:
        """Nothing is to be decoded."""

    def is_ready(self, *, within_s: float) -> bool:
        """Return True: there is nothing to wait for."""
        return within_s >= 0

    def next_windows(self) -> NumberedWindows | None:
        """Return the next windows."""
        start = next(self._starts, None)
        return None if start is None else NumberedWindows(start, self._windows[start : start + BATCH_WINDOWS])

    def add(self, first_window: int, output: WindowOutput) -> None:
        """Add the scores of windows."""
        self._scores[first_window : first_window + len(output.scores)] = output.scores

    def result(self) -> tuple[FloatArray, Bundle]:
        """Return the scores, and the bundle that they are from."""
        return self._scores, self.model.bundle

    def close(self) -> None:
        """Nothing is to be given up."""


class InferencePool:
    """The server's inference engine; see the module."""

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
        self._active = self.open_model(bundle)
        self._active.warm_up(self.n_inference_threads)
        self._costs = CostEstimate()
        self._submitting = threading.Lock()
        self.engine = InferenceEngine(
            n_threads=self.n_inference_threads,
            max_active=self.limits.max_active_per_thread * self.n_inference_threads,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bundle(self) -> Bundle:
        """Bundle that scores new uploads."""
        return self._active.bundle

    @property
    def n_waiting(self) -> int:
        """Number of recordings that wait or are between two batches."""
        return self.engine.n_queued

    def activate(self, bundle: Bundle) -> None:
        """Score new uploads with another bundle; recordings in progress keep the one that they started with.

        Raises:
            ModelError: it cannot be run; nothing changes.
        """
        self.switch_to(self.load(bundle))

    def load(self, bundle: Bundle) -> ServedModel:
        """Return another model, which is ready for `switch_to`.

        Raises:
            ModelError: it cannot be run.
        """
        model = self.open_model(bundle)
        model.warm_up(self.n_inference_threads)
        return model

    def switch_to(self, model: ServedModel) -> None:
        """Score new uploads with a model that is loaded; see `activate`."""
        self._active = model

    def open_model(self, bundle: Bundle) -> ServedModel:
        """Return another model for `submit`; it is loaded on first use."""
        return ServedModel(bundle, self._store)

    def warm(self, options: Options) -> None:
        """Load the range model if the options need it."""
        self._active.range_filter(options)

    def submit(
        self,
        path: Path,
        options: Options,
        *,
        name: str = "",
        model: ServedModel | None = None,
        bypass_queue_limit: bool = False,
    ) -> WorkFuture[IdentifyResult]:
        """Score a recording; the file must stay until the future is done.

        Args:
            path: The recording.
            options: Options of the run.
            name: The client's name of the file, which may contain the time of the recording.
            model: Another model than the active one.
            bypass_queue_limit: True for background jobs, which are neither rejected nor too late.

        Returns:
            A future that raises AudioError if the recording cannot be decoded or exceeds the limits, and
            OverloadedError if it has waited too long.

        Raises:
            OverloadedError: the queue is full.
            InputError: the bundle does not support the options.
        """
        model = model or self._active
        plan = build_scoring_plan(model.bundle, options, limits=self.limits)
        builder = TableBuilder(model.bundle, plan.windows, options, model.range_filter(options), {})
        recording = RecordingWork(path, model.loaded, plan, decoders=self.engine.decoders)
        upload = Upload(recording, builder, options, name, self._costs)
        if bypass_queue_limit:
            return self.engine.submit(upload)
        n_bytes = path.stat().st_size
        with self._submitting:
            self.check_room(n_bytes)
            return self.engine.submit(upload, work_s=self._work_s(n_bytes), wait_s=self.limits.wait_s)

    def submit_windows(self, windows: FloatArray) -> WorkFuture[tuple[FloatArray, Bundle]]:
        """Score decoded windows [n, samples]; the future returns scores [n, classes] and the bundle.

        Raises:
            OverloadedError: the queue is full.
            InputError: windows of another length.
        """
        model = self._active
        if windows.shape[1] != model.bundle.window_samples:
            raise InputError(f"expected windows of {model.bundle.window_samples} samples, got {windows.shape[1]}.")
        n_bytes = windows.nbytes // 2  # as much work as a recording of 16 bits
        with self._submitting:
            self.check_room(n_bytes)
            work = DecodedWindows(windows, model.loaded)
            return self.engine.submit(work, work_s=self._work_s(n_bytes), wait_s=self.limits.wait_s)

    def check_room(self, n_bytes: int) -> None:
        """Raise if an upload of `n_bytes` does not fit into the queue.

        Raises:
            OverloadedError: the queue is full.
        """
        waiting_s = self.engine.waiting_s
        if waiting_s + self._work_s(n_bytes) > self.limits.max_queue_s * self.n_inference_threads:
            raise OverloadedError(
                "too many recordings are waiting. Try again later.",
                retry_after_s=max(waiting_s / self.n_inference_threads, 1.0),
            )

    def _work_s(self, n_bytes: int) -> float:
        """Return the estimated work of a recording, at most one thread's share of the queue."""
        return min(self._costs.work_s(n_bytes), self.limits.max_queue_s)

    def probe(self, path: Path) -> RecordingHeader:
        """Read a recording's header and metadata.

        Raises:
            AudioError: it cannot be opened, or exceeds the limits.
        """
        with self.decoder() as decoder:
            header = decoder.probe(path)
        info = header.info
        self.limits.check(path, n_channels=info.n_channels, rate_hz=info.rate_hz, duration_s=info.duration_s)
        return header

    def decoder(self) -> AbstractContextManager[DecoderProcess]:
        """Borrow a decoder for a `with` block; it is waited for while all are in use."""
        return self.engine.decoders.decoder()

    def close(self, *, grace_s: float = 30.0) -> None:
        """Finish the recordings in progress and in the queue within `grace_s`, and stop."""
        self.engine.close(grace_s=grace_s)


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
