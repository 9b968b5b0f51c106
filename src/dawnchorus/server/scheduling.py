"""Inference pool of the server: the inference engine with limits, deadlines and an exchangeable model.

The engine alternates between the batches of all recordings in progress, so an hour of audio does not delay a clip of
three seconds. A recording is scored to its end by the model that was active when it was submitted.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Self

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.process import DecoderProcess, RecordingHeader
from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError, OverloadedError
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.options import Options
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.run import build_scoring_plan, open_range_filter
from dawnchorus.inference.engine import InferenceEngine
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.model import Model
from dawnchorus.inference.recording import RecordingWork
from dawnchorus.inference.work import WorkFuture
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.cost_estimate import CostEstimate
from dawnchorus.server.work import DecodedWindows, IdentifyResult, UploadWork


class ServedModel:
    """A model with its inference sessions and range filters (filters by location and week).

    Args:
        bundle: bundle of the model.
        store: store of the built-in models, which has the range model.

    Raises:
        ModelError: the bundle cannot be opened.
    """

    def __init__(self, bundle: Bundle, store: ModelStore) -> None:
        self.bundle, self._store = bundle, store
        self.loaded = LoadedModel.open(bundle, store.folder)
        self._range_filter = lru_cache(maxsize=8)(self._new_range_filter)

    def warm_up(self, n_threads: int) -> None:
        """Create the inference sessions of `n_threads` threads, and the range filter if the bundle has a range model.

        Raises:
            ModelError: the model cannot be run, or its range model cannot be opened.
        """
        self.loaded.sessions.warm_up(n_threads)
        self.range_filter(Options())

    def range_filter(self, options: Options) -> RangeFilter | None:
        """Return the range filter for the options' threshold, with the bundle's range model or else the default one.

        Return None if the options have no location and the bundle has no range model. Filters are cached, since loading
        the range model takes longer than scoring a clip.

        Raises:
            ModelError: the range model cannot be opened.
        """
        return self._range_filter(options.range_threshold, options.latitude is not None)

    def _new_range_filter(self, threshold: float, has_location: bool) -> RangeFilter | None:  # noqa: FBT001 - a cache's key
        coordinate = 0.0 if has_location else None
        options = Options(range_threshold=threshold, latitude=coordinate, longitude=coordinate)
        return open_range_filter(Model(self.bundle, self._store), options, None)


class InferencePool:
    """The server's inference engine with its queue and the active model, a context manager; see the module.

    On construction, the active model is loaded and the threads are started.

    Args:
        bundle: bundle of the active model.
        store: store of the built-in models.
        n_inference_threads: number of threads that run the model; None for the number of usable cores.
        limits: limits of recordings and of the queue; None for the default limits.

    Raises:
        ModelError: the model cannot be run.
    """

    def __init__(
        self, bundle: Bundle, *, store: ModelStore, n_inference_threads: int | None = None, limits: Limits | None = None
    ) -> None:
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
        """Bundle of the active model, which scores new uploads."""
        return self._active.bundle

    @property
    def n_waiting(self) -> int:
        """Number of recordings that wait to be started or for their next batch."""
        return self.engine.n_queued

    def activate(self, bundle: Bundle) -> None:
        """Load a model, and score new uploads with it; recordings submitted before are finished with the old model.

        Raises:
            ModelError: the model cannot be run; the active model does not change.
        """
        self.switch_to(self.load(bundle))

    def load(self, bundle: Bundle) -> ServedModel:
        """Load a model and warm it up, for `switch_to`; the active model does not change.

        Raises:
            ModelError: the model cannot be run.
        """
        model = self.open_model(bundle)
        model.warm_up(self.n_inference_threads)
        return model

    def switch_to(self, model: ServedModel) -> None:
        """Score new uploads with a model from `load`; recordings submitted before are finished with the old model."""
        self._active = model

    def open_model(self, bundle: Bundle) -> ServedModel:
        """Return a model for the argument `model` of `submit`; the model's sessions are created on first use.

        Raises:
            ModelError: the bundle cannot be opened.
        """
        return ServedModel(bundle, self._store)

    def warm(self, options: Options) -> None:
        """Load the active model's range filter for the options, so that `submit` need not wait for the loading.

        Raises:
            ModelError: the range model cannot be opened.
        """
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
        """Submit a recording to the engine.

        Args:
            path: file of the recording, which must exist until the future is done.
            options: options of the identification.
            name: client's name of the file, which may contain the recording's start time; "" if unknown.
            model: model to use; None for the active model.
            bypass_queue_limit: True for background jobs, which are accepted with a full queue and may wait without
                limit.

        Returns:
            Future of the result. It raises AudioError if the recording cannot be decoded or exceeds `limits`,
            OverloadedError if the recording has waited longer than `Limits.wait_s`, and ModelError if a score is not
            finite.

        Raises:
            OverloadedError: the queue is full (`check_room`), and `bypass_queue_limit` is False.
            InputError: the model does not support the options.
            ModelError: the range model cannot be opened.
        """
        model = model or self._active
        plan = build_scoring_plan(model.bundle, options, limits=self.limits)
        builder = TableBuilder(model.bundle, plan.windows, options, model.range_filter(options), {})
        recording = RecordingWork(path, model.loaded, plan, decoders=self.engine.decoders)
        upload = UploadWork(recording, builder, options, name, self._costs)
        if bypass_queue_limit:
            return self.engine.submit(upload)
        n_bytes = path.stat().st_size
        with self._submitting:
            self.check_room(n_bytes)
            return self.engine.submit(upload, work_s=self._work_s(n_bytes), wait_s=self.limits.wait_s)

    def submit_windows(self, windows: FloatArray) -> WorkFuture[tuple[FloatArray, Bundle]]:
        """Submit decoded windows to the engine, for the active model.

        Args:
            windows: mono audio, float32 [n, samples].

        Returns:
            Future of the scores [n, classes], 0 to 1, and of the bundle that computed them. It raises
            OverloadedError if the windows have waited longer than `Limits.wait_s`.

        Raises:
            OverloadedError: the queue is full (`check_room`).
            InputError: the windows do not have the length that the model expects.
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
        """Check that the queue has room for the estimated work of an upload of `n_bytes`.

        The work of one upload counts as at most `Limits.max_queue_s`, so that any upload fits into an empty queue.

        Raises:
            OverloadedError: the waiting work and the upload's take more than `Limits.max_queue_s` seconds per
                inference thread.
        """
        waiting_s = self.engine.waiting_s
        if waiting_s + self._work_s(n_bytes) > self.limits.max_queue_s * self.n_inference_threads:
            raise OverloadedError(
                "too many recordings are waiting. Try again later.",
                retry_after_s=max(waiting_s / self.n_inference_threads, 1.0),
            )

    def _work_s(self, n_bytes: int) -> float:
        """Return the estimated seconds of work, at most `Limits.max_queue_s`: any upload fits into an empty queue."""
        return min(self._costs.work_s(n_bytes), self.limits.max_queue_s)

    def probe(self, path: Path) -> RecordingHeader:
        """Read the header and the metadata of a recording, in a decoder process.

        Raises:
            AudioError: the recording cannot be opened, or exceeds `limits` (`Limits.check`).
        """
        with self.decoder() as decoder:
            header = decoder.probe(path)
        info = header.info
        self.limits.check(path, n_channels=info.n_channels, rate_hz=info.rate_hz, duration_s=info.duration_s)
        return header

    def decoder(self) -> AbstractContextManager[DecoderProcess]:
        """Return a context manager for a decoder process of the pool; entering waits while all decoders are in use.

        Entering raises OverloadedError if the pool is closed.
        """
        return self.engine.decoders.decoder()

    def close(self, *, grace_s: float = 30.0) -> None:
        """Finish the recordings in progress and in the queue, for at most `grace_s` seconds, and stop the threads.

        The futures of recordings that are not finished by then are cancelled.
        """
        self.engine.close(grace_s=grace_s)
