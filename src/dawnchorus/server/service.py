"""A server's parts, and what the routes share of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import URL

from dawnchorus.errors import AudioDecodeError, BusyError, DecoderCrashError, OverloadedError
from dawnchorus.identification.options import Options
from dawnchorus.models.bundle import Bundle, file_sha256
from dawnchorus.models.runner import FloatArray
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.server.history import History
from dawnchorus.server.monitoring import Meters
from dawnchorus.server.registry import Registry
from dawnchorus.server.rendering import Renderer
from dawnchorus.server.scheduling import Lanes, Recognition
from dawnchorus.server.settings import Settings
from dawnchorus.server.state.blobs import FileStore
from dawnchorus.server.state.database import FILE_NAME, Database
from dawnchorus.server.state.job_queue import Jobs
from dawnchorus.server.state.retention import needed_files
from dawnchorus.server.training.data import Lessons
from dawnchorus.server.training.runner import Learning
from dawnchorus.server.workers import Workers
from dawnchorus.storage.files import cannot_write
from dawnchorus.types import AudioInfo

SPOOL = "spool-"

MEMORY, MEMORY_PREFIX = Path("/dev/shm"), "dawnchorus-spool-"  # noqa: S108 - folders in it are private
MAX_IN_MEMORY, MIN_MEMORY = 8 << 20, 256 << 20
"""Bytes of an upload that is kept in memory while it is worked on, and what must be free for that."""

MAX_CRASHES = 3

MAX_AT_ONCE = 3
"""Of what takes a thread for long."""

MAX_BATCHES, MAX_COMPARISONS = 4, 1
"""At once; each takes some 50 MB, or what two models need."""

TRY_AGAIN_S = 10.0


class Poison:
    """Files on which decoders have crashed again and again: they are not tried any more."""

    def __init__(self) -> None:
        self._crashes: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._crashes)

    def add(self, path: Path) -> None:
        """Note that a decoder has crashed on the file."""
        self._crashes[file_sha256(path)] += 1

    def check(self, path: Path) -> None:
        """Refuse a file on which decoders have crashed too often.

        Raises:
            AudioDecodeError: decoders have crashed on it too often.
        """
        if self._crashes[file_sha256(path)] >= MAX_CRASHES:
            raise AudioDecodeError(
                f"{path}: decoders have crashed on this file {MAX_CRASHES} times; it is not tried again."
            )


@dataclass(frozen=True)
class Service:
    """A server that runs."""

    settings: Settings
    database: Database
    files: FileStore
    lanes: Lanes
    meters: Meters
    history: History
    jobs: Jobs
    lessons: Lessons
    learning: Learning
    registry: Registry
    renderer: Renderer
    spool: Path
    """Folder of uploads while they are worked on."""
    memory: Path
    """The same for small ones: a folder in memory, where there is such a thing."""
    poison: Poison = field(default_factory=Poison)
    few: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))
    """For what takes a thread for long: others need them as well."""
    batches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_BATCHES))
    """For bodies with many files."""
    comparisons: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_COMPARISONS))
    """For models that are compared on recordings."""
    ending: threading.Event = field(default_factory=threading.Event)
    """Set as soon as the server is asked to end."""
    begin: float = field(default_factory=time.monotonic)

    def shown(self, message: str) -> str:
        """Return a message for clients: without paths of this machine."""
        settings = self.settings
        model = Path(settings.model)
        for folder in (settings.data, self.registry.store.folder, *((model.parent,) if model.is_dir() else ())):
            message = message.replace(f"{folder.absolute()}{os.sep}", "").replace(f"{folder}{os.sep}", "")
        return message

    def spool_for(self, announced_bytes: int | None) -> Path:
        """Return the folder for an upload: the one in memory for small ones, if there is room."""
        is_small = announced_bytes is not None and announced_bytes <= MAX_IN_MEMORY
        return self.memory if is_small and _is_roomy(self.memory) else self.spool

    async def probed(self, path: Path) -> AudioInfo:
        """Read an uploaded recording's header and metadata.

        Raises:
            AudioError: see `Lanes.probe`.
        """
        async with self._careful(path), self.few:
            return await asyncio.to_thread(self.lanes.probe, path)

    async def scored(self, windows: FloatArray) -> tuple[FloatArray, Bundle]:
        """Scores of windows; see `Lanes.submit_windows`."""
        future = self.lanes.submit_windows(windows)
        try:
            return await asyncio.wrap_future(future)
        finally:
            future.cancel()

    @asynccontextmanager
    async def _careful(self, path: Path) -> AsyncIterator[None]:
        """Keep decoders from files on which they crash."""
        if self.poison:
            await asyncio.to_thread(self.poison.check, path)
        try:
            yield
        except DecoderCrashError:
            await asyncio.to_thread(self.poison.add, path)
            raise

    async def recognised(self, path: Path, options: Options, name: str) -> Recognition:
        """Identify an uploaded recording.

        Raises:
            AudioError, InputError, OverloadedError: see `Lanes.submit`.
        """
        if options.latitude is not None:
            await asyncio.to_thread(self.lanes.warm, options)
        async with self._careful(path):
            future = self.lanes.submit(path, options, name=name)
            try:
                found = await asyncio.wrap_future(future)
            finally:
                future.cancel()  # nobody waits for it any more
        self.meters.sound(found.table.duration_s)
        for stage, seconds in found.took_s.items():
            self.meters.stage(stage, seconds)
        return found

    def check_ready(self) -> None:
        """Check that the server can answer.

        Raises:
            OverloadedError: it is about to end.
        """
        if self.ending.is_set():
            raise OverloadedError("the server is ending.", retry_after_s=5)

    @property
    def uptime_s(self) -> float:
        """Since the start."""
        return time.monotonic() - self.begin


@asynccontextmanager
async def unless_full(slots: asyncio.Semaphore, what: str) -> AsyncIterator[None]:
    """Hold one of the slots.

    Raises:
        OverloadedError: none is free.
    """
    if slots.locked():
        raise OverloadedError(f"too many {what} at once. Try again later.", retry_after_s=TRY_AGAIN_S)
    async with slots:
        yield


@contextmanager
def open_service(settings: Settings) -> Iterator[Service]:
    """Open everything that a server needs, until the block ends.

    Work in progress is then finished, or goes back to the queue.

    Raises:
        BusyError: another server uses the folder.
        InputError, OutputError: the database cannot be used.
        ModelError: the model cannot be run.
    """
    with ExitStack() as stack:
        data = settings.data
        _make_folder(data)
        is_alone = settings.database is None
        if is_alone:
            stack.enter_context(_locked(data))
        spool = stack.enter_context(_scratch(data, SPOOL))
        own = URL.create("sqlite", database=str((data / FILE_NAME).absolute()))
        database = Database(settings.database or own)
        stack.callback(database.close)
        files = FileStore(settings.files or (data / "files").absolute(), cache=data / "cache", scratch=spool)
        store = ModelStore(settings.models_folder or default_folder())
        registry = Registry(database, files, store, data / "models", scratch=spool)
        bundle = registry.first(settings.model, is_alone=is_alone)
        lanes = Lanes(bundle, store=store, n_lanes=settings.n_lanes, limits=settings.limits)
        stack.callback(lanes.close)
        registry.lanes = lanes
        jobs = Jobs(database, owner=f"{socket.gethostname()[:20]}-{uuid.uuid4().hex[:12]}")
        if is_alone:
            jobs.adopt_all()
            if settings.files is None:
                with database.read() as session:
                    files.sweep(needed_files(session))
        history = History(database, files)
        stack.callback(history.close)
        lessons = Lessons(database, files, settings.limits)
        learning = Learning(
            jobs,
            lessons,
            registry,
            folder=(data / "retraining").absolute(),
            backbone=str(settings.model),
            models=store.folder,
        )
        if settings.recipe:
            learning.check(settings.recipe)
        learning.tidy()
        workers = Workers(database, jobs, lanes, history, files, learning, registry, kinds=settings.work)
        stack.callback(workers.close)
        renderer = Renderer(spool)
        stack.callback(renderer.close)
        yield Service(
            settings,
            database,
            files,
            lanes,
            Meters(),
            history,
            jobs,
            lessons,
            learning,
            registry,
            renderer,
            spool,
            stack.enter_context(_scratch(MEMORY, MEMORY_PREFIX)) if _is_roomy(MEMORY) else spool,
        )


@contextmanager
def _scratch(place: Path, prefix: str) -> Iterator[Path]:
    """Create a folder for files in work; those of servers that were killed are removed.

    Each is locked while its server lives: several may share the place, and numbers of processes are no names across
    containers.
    """
    for left in place.glob(f"{prefix}*.lock"):
        if left.is_symlink():
            continue  # not ours
        with suppress(Timeout, OSError), FileLock(left).acquire(timeout=0):  # OSError: another user's
            _remove_scratch(left)
    lock = place / f"{prefix}{uuid.uuid4().hex[:12]}.lock"
    with FileLock(lock):
        folder = lock.with_suffix("")
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _remove_scratch(lock)


def _remove_scratch(lock: Path) -> None:
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    with suppress(OSError):  # where open files cannot be removed, the next start does it
        lock.unlink()


def _is_roomy(folder: Path) -> bool:
    """Return True if small files may be kept there; it may be gone, with a user's session."""
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
def _locked(data: Path) -> Iterator[None]:
    lock = FileLock(data / "server.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"{data}: another server uses this folder. End it, give another folder with --data, or let several share "
            f"PostgreSQL with --database."
        ) from None
    try:
        yield
    finally:
        lock.release()
