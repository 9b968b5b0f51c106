"""The part of a run on a Ray cluster that runs on each node; it does not use Ray itself.

A node scores units, batches of recordings that are committed together.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dawnchorus.archive.archive import create_archive
from dawnchorus.archive.manifest import Entry
from dawnchorus.archive.runs import ArchiveRun
from dawnchorus.archive.workers import Worker
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.errors import ModelError
from dawnchorus.identification.result import RecordingFailure, RunCounts
from dawnchorus.identification.unit_run import WorkerRun
from dawnchorus.inference.model import Model, load_model
from dawnchorus.models.store import BUILTIN_MODELS, default_folder

REPORT_S = 0.25
"""Maximum number of seconds between two reports."""

AHEAD_S = 1.0
"""Seconds of work that a node requests in advance, to bridge the time of a report and its answer."""


@dataclass(frozen=True)
class NodeModel:
    """A model as the nodes of a cluster find it.

    Attributes:
        name: a built-in model's name, of which each node has a copy, or the absolute path of a bundle's folder.
        models_folder: folder of the built-in models; None for the default folder of each node.
    """

    name: str
    models_folder: str | None

    @classmethod
    def describe(cls, model: Model) -> NodeModel:
        """Return the description of a loaded model."""
        bundle, store = model.bundle, model.store
        builtin = (name for name in BUILTIN_MODELS if store.bundle_folder(name) == bundle.folder)
        return cls(
            next(builtin, os.path.abspath(bundle.folder)),
            None if store.folder == default_folder() else os.path.abspath(store.folder),
        )

    def load(self) -> Model:
        """Load the model on a node.

        Raises:
            ModelError: the model cannot be loaded.
        """
        return load_model(self.name, models_folder=self.models_folder)


class NodeWork(Protocol):
    """Scoring that the nodes do: the arguments of a run, which can be pickled."""

    def create_run(self, writer: UnitWriter, *, n_workers: int) -> WorkerRun:
        """Create the run of a node, which commits units with `writer` and uses `n_workers` cores.

        Raises:
            ModelError: the model cannot be loaded, or software or model differ from those of the run.
            StoreError: the archive's store failed.
        """
        ...


@dataclass(frozen=True)
class NodeTask:
    """Work of all nodes, and where its results go.

    Attributes:
        archive: absolute path or URL of the archive.
        run: id of the run; a node that has other software or another model computes another id, and is refused.
        work: scoring that the nodes do.
    """

    archive: str
    run: str
    work: NodeWork


def check_same_run(expected: str, run: ArchiveRun) -> None:
    """Check that this node would do the run with the id `expected`; `run` is what it has.

    Raises:
        ModelError: software or model differ.
    """
    if run.id != expected:
        raise ModelError(
            f"this node has {run.software} with {run.model} {run.model_version} ({run.bundle_id}), which gives another "
            f"run than the driver's. Install the same versions and models on all nodes.",
            subject=socket.gethostname(),
        )


@dataclass(frozen=True)
class NodeReport:
    """State of a node during its work.

    Attributes:
        counts: counts of the node's recordings since the node started.
        committed_counts: counts of the recordings in units that the node has committed since it started.
        committed_units: names of the node's units that were committed since the previous report, by any process.
        failures: recordings that failed, in units that the node has committed since the previous report.
        n_wanted: number of recordings that the node requests in addition to those that it has; 0 for none.
    """

    counts: RunCounts
    committed_counts: RunCounts
    committed_units: tuple[str, ...]
    failures: tuple[RecordingFailure, ...]
    n_wanted: int


class RayNode:
    """Inference engine of a node, which writes to the archive.

    `open` is called first. `score` runs in one thread, while another thread may call `add`.

    Args:
        task: the work.
        n_workers: number of cores to use.
    """

    def __init__(self, task: NodeTask, n_workers: int) -> None:
        self._task, self._n_workers = task, n_workers
        self._units = _Units()
        self._opened: tuple[Worker, WorkerRun] | None = None

    def open(self) -> str:
        """Load the model, open the archive, and return the name of the machine.

        Raises:
            ModelError: the model cannot be loaded, or software or model differ from those of the run.
            OutputError: the archive cannot be written.
            StoreError: the archive's store failed.
            MissingExtraError: deltalake is not installed.
        """
        task = self._task
        archive = create_archive(task.archive)
        worker = Worker(archive.location, task.run, "ray")
        run = task.work.create_run(UnitWriter(archive, worker), n_workers=self._n_workers)
        self._opened = worker.__enter__(), run
        return socket.gethostname()

    def add(self, units: Sequence[Sequence[Entry]]) -> None:
        """Add units, each a batch of recordings, to those that `score` processes; ignored if `score` has ended."""
        self._units.add(units)

    def score(self, units: Sequence[Sequence[Entry]]) -> Iterator[NodeReport]:
        """Score units, including those that `add` adds in the meantime, and yield reports.

        There is a report after each commit, one when `REPORT_S` seconds have passed since the last, and one at the end.

        Raises:
            ModelError: the model cannot be run, or its scores are not finite.
            MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
            OutputError: the archive cannot be written.
            StoreError: the archive's store failed.
            RuntimeError: the node is not open.
        """
        if self._opened is None:
            raise RuntimeError("the node is not open")
        _, run = self._opened
        self._units.restart(units)
        reporter = _Reporter(run, self._units, self._n_workers)
        while not self._units.close_if_empty():
            for _ in run.score(self._units):
                if reporter.is_due:
                    yield reporter.create()
        yield reporter.create()

    def close(self) -> None:
        """Delete the node's heartbeat file in the archive, if the node is open."""
        if self._opened is not None:
            self._opened[0].__exit__()


class _Units:
    """Iterator over a node's waiting units, which continues after its end if units are added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Sequence[Entry]] = deque()
        self._is_open = False
        self.n_begun = 0
        """Number of recordings in the units that were taken."""

    @property
    def n_waiting(self) -> int:
        """Number of recordings in the units that wait."""
        with self._lock:
            return sum(map(len, self._waiting))

    def restart(self, units: Sequence[Sequence[Entry]]) -> None:
        """Replace the waiting units."""
        with self._lock:
            self._waiting = deque(units)
            self._is_open = True

    def add(self, units: Sequence[Sequence[Entry]]) -> None:
        """Add units, unless the iterator is closed."""
        with self._lock:
            if self._is_open:
                self._waiting.extend(units)

    def close_if_empty(self) -> bool:
        """Close the iterator if no units wait, and return True then."""
        with self._lock:
            self._is_open = bool(self._waiting)
            return not self._is_open

    def __iter__(self) -> Iterator[Sequence[Entry]]:
        return self

    def __next__(self) -> Sequence[Entry]:
        with self._lock:
            if not self._waiting:
                raise StopIteration
            unit = self._waiting.popleft()
            self.n_begun += len(unit)
            return unit


class _Reporter:
    """Builder of the reports of one call of `score`."""

    def __init__(self, run: WorkerRun, units: _Units, n_workers: int) -> None:
        self._run, self._units, self._n_workers = run, units, n_workers
        self._n_committed, self._n_failures = len(run.committed_units), len(run.failures)
        self._n_before = self._n_finished
        self._start_s, self._last_s = time.monotonic(), -math.inf

    @property
    def _n_finished(self) -> int:
        counts = self._run.counts
        return counts.n_done + counts.n_failed + counts.n_resumed

    @property
    def is_due(self) -> bool:
        """True if units were committed, or `REPORT_S` have passed since the last report."""
        return len(self._run.committed_units) > self._n_committed or time.monotonic() - self._last_s >= REPORT_S

    def create(self) -> NodeReport:
        """Return a report on what has happened since the last one."""
        run = self._run
        units, failures = tuple(run.committed_units[self._n_committed :]), tuple(run.failures[self._n_failures :])
        self._n_committed, self._n_failures = len(run.committed_units), len(run.failures)
        self._last_s = time.monotonic()
        return NodeReport(run.counts, run.committed_counts, units, failures, max(self._count_wanted(), 0))

    def _count_wanted(self) -> int:
        """Return the number of recordings to request so that all cores stay busy until they arrive."""
        elapsed_s = max(self._last_s - self._start_s, REPORT_S)
        per_second = (self._n_finished - self._n_before) / elapsed_s
        n_left = self._units.n_waiting + self._units.n_begun - self._n_finished
        return self._n_workers + 1 + math.ceil(per_second * AHEAD_S) - n_left
