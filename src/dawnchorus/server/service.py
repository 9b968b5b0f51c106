"""Components of a running server, and the operations that several HTTP routes share."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import URL

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.process import RecordingHeader
from dawnchorus.errors import BusyError, DecoderCrashError, InputError, NotFoundError, OverloadedError
from dawnchorus.identification.options import Options
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.server.history import DetectionStore
from dawnchorus.server.model_catalog import ModelCatalog
from dawnchorus.server.model_switcher import ModelSwitcher
from dawnchorus.server.monitoring import ServerMetrics
from dawnchorus.server.quarantine import DecoderQuarantine
from dawnchorus.server.recent_clips import RecentClips
from dawnchorus.server.rendering import Renderer
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.server.settings import Settings
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import FILE_NAME, Database
from dawnchorus.server.state.job_queue import JobQueue
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job
from dawnchorus.server.timeline import Timeline
from dawnchorus.server.training.data import TrainingData
from dawnchorus.server.training.reviews import Reviews
from dawnchorus.server.training.runner import RetrainingRunner
from dawnchorus.server.work import IdentifyResult
from dawnchorus.server.workers import Workers
from dawnchorus.storage.files import cannot_write

SPOOL = "spool-"
"""Prefix of the temporary folder in the data folder for uploads that are being processed."""

MEMORY, MEMORY_PREFIX = Path("/dev/shm"), "dawnchorus-spool-"  # noqa: S108 - folders in it are private
"""File system in memory for small uploads, and the prefix of the server's temporary folder in it."""
MAX_IN_MEMORY, MIN_MEMORY = 8 << 20, 256 << 20
"""Maximum size of an upload that is kept in memory, and the free memory that this requires, in bytes."""

MAX_BLOCKING = 3
"""Maximum number of concurrent operations that block a thread for long."""

MAX_BATCHES, MAX_COMPARISONS = 4, 1
"""Maximum number of concurrent uploads of many files (50 MB of memory each), and of comparisons of two models."""

RETRY_AFTER_S = 10.0
"""Value of the Retry-After header if all slots for an operation are in use."""


@dataclass(frozen=True)
class Service:
    """The components of a running server, opened by `open_service`."""

    settings: Settings
    database: Database
    files: BlobStore
    """Files of recordings, training data and models."""
    pool: InferencePool
    """Inference engine with the active model."""
    metrics: ServerMetrics
    """Prometheus metrics of this server."""
    detections: DetectionStore
    """Stored recordings with their identifications and detections."""
    timeline: Timeline
    """Queries for the detections of one recording."""
    jobs: JobQueue
    """Queue of background jobs, shared by all servers of the database."""
    training_data: TrainingData
    """Labeled recordings for retraining."""
    reviews: Reviews
    """Reviews of detections."""
    retraining: RetrainingRunner
    """Runner of retraining jobs."""
    catalog: ModelCatalog
    """Models, and the history of activations."""
    switcher: ModelSwitcher
    """Switcher of the active model."""
    renderer: Renderer
    """Threads that render responses, with a cache."""
    spool: Path
    """Folder of uploads that are being processed."""
    memory: Path
    """Folder of small uploads that are being processed: in memory if the system allows, else `spool`."""
    recent_clips: RecentClips = field(default_factory=RecentClips)
    """Cache of the latest decoded clips."""
    quarantine: DecoderQuarantine = field(default_factory=DecoderQuarantine)
    """Files on which decoders have crashed repeatedly."""
    blocking_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_BLOCKING))
    """Slots for operations that block a thread of the event loop's thread pool for long."""
    batches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_BATCHES))
    """Slots for uploads of many files."""
    comparisons: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_COMPARISONS))
    """Slots for comparisons of two models."""
    shutting_down: threading.Event = field(default_factory=threading.Event)
    """Event that is set when the server starts to shut down."""
    start_monotonic_s: float = field(default_factory=time.monotonic)
    """Time of the server's start by the monotonic clock."""

    def spool_for(self, announced_bytes: int | None) -> Path:
        """Return the folder for an upload: `memory` if the upload is small and the memory is large, else `spool`.

        An upload is small up to `MAX_IN_MEMORY` bytes; more than `MIN_MEMORY` bytes must be free in `memory`.

        Args:
            announced_bytes: size by the Content-Length header; None if the client did not send the header, which
                counts as large.
        """
        is_small = announced_bytes is not None and announced_bytes <= MAX_IN_MEMORY
        return self.memory if is_small and _is_roomy(self.memory) else self.spool

    async def probe(self, path: Path) -> RecordingHeader:
        """Read the header and the metadata of an uploaded recording, in a decoder process.

        Raises:
            AudioError: the recording cannot be opened, exceeds `settings.limits`, or is in quarantine.
        """
        async with self._quarantined(path), self.blocking_slots:
            return await asyncio.to_thread(self.pool.probe, path)

    async def score_windows(self, windows: FloatArray) -> tuple[FloatArray, Bundle]:
        """Score decoded windows with the active model.

        Args:
            windows: mono audio, float32 [n, samples].

        Returns:
            The scores [n, classes], 0 to 1, and the bundle that computed them.

        Raises:
            OverloadedError: the queue is full (`InferencePool.check_room`), or the windows have waited for longer than
                `Limits.wait_s`.
            InputError: the windows do not have the length that the model expects.
        """
        future = self.pool.submit_windows(windows)
        try:
            return await asyncio.wrap_future(future)
        finally:
            future.cancel()

    @asynccontextmanager
    async def _quarantined(self, path: Path) -> AsyncIterator[None]:
        """Reject a file in quarantine, and add a decoder's crash during the block to the file's count."""
        if self.quarantine:
            await asyncio.to_thread(self.quarantine.check, path)
        try:
            yield
        except DecoderCrashError:
            await asyncio.to_thread(self.quarantine.add, path)
            raise

    async def identify(self, path: Path, options: Options, name: str) -> IdentifyResult:
        """Identify an uploaded recording with the active model, and update the metrics; nothing is stored.

        Args:
            path: file of the upload.
            options: options of the identification.
            name: client's name of the file, which may contain the recording's start time.

        Raises:
            AudioError: the recording cannot be decoded, exceeds `settings.limits`, or is in quarantine.
            InputError: the active model does not support the options.
            ModelError: the range model cannot be opened, or a score is not finite.
            OverloadedError: the queue is full (`InferencePool.check_room`), or the recording has waited for longer than
                `Limits.wait_s`.
        """
        if options.latitude is not None:
            await asyncio.to_thread(self.pool.warm, options)
        async with self._quarantined(path):
            future = self.pool.submit(path, options, name=name)
            try:
                result = await asyncio.wrap_future(future)
            finally:
                future.cancel()  # the client has left
        self.metrics.count_audio(result.table.duration_s)
        for stage, seconds in result.stage_s.items():
            self.metrics.observe_stage(stage, seconds)
        return result

    def identify_again(self, sha256: str) -> Job:
        """Queue a job that identifies a stored recording with the active model.

        The options are those of the recording's latest identification.

        Raises:
            NotFoundError: there is no such recording, or its audio is not stored.
            BusyError: the queue of jobs is full (`job_queue.MAX_JOBS`).
        """
        row = self.detections.get_recording(sha256)
        if row.error is not None:
            raise NotFoundError(f"{row.name}: it could not be identified, so its audio was not stored.")
        options = self.detections.latest_options(sha256)
        parameters = {"sha256": sha256, "name": row.name, "options": asdict(options), "site": row.site}
        with self.files.protect(sha256) as session:
            return self.jobs.insert(session, "identify", parameters, files=[sha256])

    def restart(self, job_id: str) -> Job:
        """Queue a copy of a job that was cancelled or failed, and return the new job.

        Raises:
            NotFoundError: there is no such job, or its audio file was deleted.
            BusyError: the job itself is queued or running, the job is a retraining and another retraining is queued or
                running, or the queue of jobs is full (`job_queue.MAX_JOBS`).
            InputError: the job is done, or the job is a retraining and there is no training data.
        """
        job = self.jobs.get(job_id)
        if job.status in ACTIVE_STATUSES:
            raise BusyError("the job has not ended. Cancel it first.")
        if job.status == "done":
            raise InputError("expected a job that was cancelled or failed, got one that is done.")
        if job.kind == "retrain":
            return self.retraining.start(**job.parameters)
        with self.files.protect(job.parameters["sha256"]) as session:
            return self.jobs.insert(session, "identify", job.parameters, files=[job.parameters["sha256"]])

    def can_restart(self, job: Job) -> bool:
        """Return True if a job was cancelled or failed, and its audio file (if it needs one) still exists."""
        has_file = job.kind == "retrain" or self.files.size(job.parameters["sha256"]) is not None
        return job.status in ("cancelled", "failed") and has_file

    def check_ready(self) -> None:
        """Check that the server accepts requests.

        Raises:
            OverloadedError: the server is shutting down.
        """
        if self.shutting_down.is_set():
            raise OverloadedError("the server is shutting down.", retry_after_s=5)

    @property
    def uptime_s(self) -> float:
        """Seconds since the start of the server."""
        return time.monotonic() - self.start_monotonic_s


@asynccontextmanager
async def hold_slot(slots: asyncio.Semaphore, operations: str) -> AsyncIterator[None]:
    """Hold one of the slots during the `async with` block, without waiting for a free slot.

    Args:
        slots: semaphore with the number of operations that may run at the same time.
        operations: plural noun for the operation, for the message, such as "comparisons".

    Raises:
        OverloadedError: no slot is free.
    """
    if slots.locked():
        raise OverloadedError(f"too many {operations} at once. Try again later.", retry_after_s=RETRY_AFTER_S)
    async with slots:
        yield


@contextmanager
def open_service(settings: Settings) -> Iterator[Service]:
    """Open all components of a server, and close them at the end of the `with` block.

    On closing, recordings in progress are finished for at most 30 s, and unfinished jobs are returned to the queue.

    Raises:
        BusyError: another server uses the data folder, and `settings.database` is None.
        InputError: the database's URL, the file store's URL or the overrides for retraining are invalid, or a newer
            version of this program has migrated the database.
        MissingExtraError: a package for the database or the file store is not installed.
        OutputError: the database or the data folder cannot be written.
        ModelError: the model cannot be run.
    """
    with ExitStack() as stack:
        data = settings.data
        _make_folder(data)
        is_only_server = settings.database is None
        if is_only_server:
            stack.enter_context(_lock(data))
        spool = stack.enter_context(_scratch(data, SPOOL))
        own = URL.create("sqlite", database=str((data / FILE_NAME).absolute()))
        database = Database(settings.database or own)
        stack.callback(database.close)
        files = BlobStore(database, settings.files or (data / "files").absolute(), cache=data / "cache", scratch=spool)
        store = ModelStore(settings.models_folder or default_folder())
        catalog = ModelCatalog(database, files, store, given=settings.model, folder=data / "models", scratch=spool)
        active = catalog.open_active(is_only_server=is_only_server)
        pool = InferencePool(
            active.bundle, store=store, n_inference_threads=settings.n_inference_threads, limits=settings.limits
        )
        stack.callback(pool.close)
        switcher = ModelSwitcher(catalog, pool, activation_id=active.activation_id)
        jobs = JobQueue(database, worker_id=f"{socket.gethostname()[:20]}-{uuid.uuid4().hex[:12]}")
        if is_only_server:
            jobs.requeue_orphans()
        detections = DetectionStore(database, files, settings.limits)
        stack.callback(detections.close)
        training_data = TrainingData(database, files, settings.limits, decoders=pool.engine.decoders)
        retraining = RetrainingRunner(
            jobs,
            training_data,
            catalog,
            switcher,
            folder=(data / "retraining").absolute(),
            backbone=str(settings.model),
            models=store.folder,
        )
        if settings.retrain_overrides:
            retraining.check(settings.retrain_overrides)
        workers = Workers(jobs, pool, detections, files, retraining, switcher, kinds=settings.job_kinds)
        stack.callback(workers.close)
        renderer = Renderer(spool)
        stack.callback(renderer.close)
        yield Service(
            settings=settings,
            database=database,
            files=files,
            pool=pool,
            metrics=ServerMetrics(),
            detections=detections,
            timeline=Timeline(database),
            jobs=jobs,
            training_data=training_data,
            reviews=Reviews(database, files, training_data, decoders=pool.engine.decoders),
            retraining=retraining,
            catalog=catalog,
            switcher=switcher,
            renderer=renderer,
            spool=spool,
            memory=stack.enter_context(_scratch(MEMORY, MEMORY_PREFIX)) if _is_roomy(MEMORY) else spool,
        )


@contextmanager
def _scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Create a temporary folder, and remove the temporary folders of servers that were killed.

    A server locks its folder while it runs: several servers may share the parent folder, and process ids are not unique
    across containers.
    """
    for stale in parent.glob(f"{prefix}*.lock"):
        if stale.is_symlink():
            continue  # not ours
        with suppress(Timeout, OSError), FileLock(stale).acquire(timeout=0):  # OSError: another user's
            _remove_scratch(stale)
    lock = parent / f"{prefix}{uuid.uuid4().hex[:12]}.lock"
    with FileLock(lock):
        folder = lock.with_suffix("")
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _remove_scratch(lock)


def _remove_scratch(lock: Path) -> None:
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    with suppress(OSError):  # open files on Windows: the next start removes them
        lock.unlink()


def _is_roomy(folder: Path) -> bool:
    """Return True if the folder exists (logout may remove it), is writable, and has more than `MIN_MEMORY` free."""
    try:
        return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > MIN_MEMORY
    except OSError:
        return False


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(data, error) from error


@contextmanager
def _lock(data: Path) -> Iterator[None]:
    lock = FileLock(data / "server.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"{data}: another server uses this folder. Stop it, give another folder with --data-dir, or let several "
            f"share PostgreSQL with --database."
        ) from None
    try:
        yield
    finally:
        lock.release()
