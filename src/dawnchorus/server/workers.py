"""Background threads of a server: jobs, heartbeats, model switches and clean-up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from dawnchorus.errors import AudioError, DawnChorusError, NotFoundError, PlugInError
from dawnchorus.identification.options import Options
from dawnchorus.server.history import DetectionStore
from dawnchorus.server.model_switcher import ModelSwitcher
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.job_queue import KINDS, JobQueue, Kind
from dawnchorus.server.state.tables import Job
from dawnchorus.server.training.runner import RetrainingRunner

LOG = logging.getLogger(__name__)

N_THREADS: dict[Kind, int] = {"identify": 2, "retrain": 1}
"""Number of threads by kind of job, each of which runs one job at a time."""
POLL_S = 1.0
"""Interval at which an idle thread looks for jobs of other servers; jobs that this server adds are run at once."""
FLUSH_S, HEARTBEAT_S, FOLLOW_S, CLEAN_UP_S = 0.1, 1.0, 1.0, 3600.0
"""Intervals of the periodic tasks: writing totals, heartbeats of jobs, following model switches, and clean-up."""
PROGRESS_INTERVAL_S = 0.5
"""Minimum time between progress updates of a job."""
CANCEL_CHECK_S = 0.2
"""Interval of checks for cancellation of a job."""


def repeat(interval_s: float, task: Callable[[], None], stop: threading.Event) -> None:
    """Run a task at once, and again `interval_s` seconds after each end of the task, until the event `stop` is set.

    An exception of the task is logged, and the task is run again after the interval. The same exception in direct
    succession is logged once.
    """
    logged = ""
    while not stop.is_set():
        try:
            task()
            logged = ""
        except Exception as error:  # transient: database restart or missing bundle; retried next cycle
            if repr(error) != logged:
                LOG.exception("a periodic task failed; it is repeated every %g s", interval_s)
            logged = repr(error)
        stop.wait(interval_s)


class Workers:
    """Background threads that run the jobs of the queue and the periodic tasks; they start on construction.

    Args:
        jobs: queue of jobs.
        pool: inference pool, for jobs of the kind "identify".
        detections: store of the results.
        files: file store with the audio of the jobs.
        retraining: runner of jobs of the kind "retrain".
        switcher: switcher of the active model, which follows other servers.
        kinds: kinds of jobs that this server runs: "identify", "retrain" or both.
    """

    def __init__(
        self,
        jobs: JobQueue,
        pool: InferencePool,
        detections: DetectionStore,
        files: BlobStore,
        retraining: RetrainingRunner,
        switcher: ModelSwitcher,
        *,
        kinds: Collection[Kind] = KINDS,
    ) -> None:
        self._jobs, self._pool, self._detections, self._files = jobs, pool, detections, files
        self._retraining = retraining
        self._shutting_down = threading.Event()
        self._active_ids: set[str] = set()
        thread_kinds = [kind for kind in N_THREADS for _ in range(N_THREADS[kind]) if kind in kinds]
        self._threads = [
            threading.Thread(target=self._process_jobs, args=(kind,), daemon=True) for kind in thread_kinds
        ]
        tasks = (
            (FLUSH_S, detections.flush),
            (HEARTBEAT_S, self._heartbeat),
            (FOLLOW_S, switcher.follow),
            (CLEAN_UP_S, self._clean_up),
        )
        self._threads += [
            threading.Thread(target=repeat, args=(*task, self._shutting_down), daemon=True) for task in tasks
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop all threads, waiting at most 10 s for each, and return unfinished jobs to the queue."""
        self._shutting_down.set()
        self._jobs.wake()
        for thread in self._threads:
            thread.join(timeout=10)
        try:
            self._jobs.release()
        except SQLAlchemyError:
            LOG.exception("the database cannot be reached; other servers, or the next start, requeue the jobs")

    def _heartbeat(self) -> None:
        self._jobs.heartbeat(tuple(self._active_ids))

    def _clean_up(self) -> None:
        self._retraining.clean_up()
        self._files.sweep()

    def _process_jobs(self, kind: Kind) -> None:
        while not self._shutting_down.is_set():
            n_wakes = self._jobs.n_wakes
            try:
                while not self._shutting_down.is_set() and (job := self._jobs.claim(kind)) is not None:
                    self._active_ids.add(job.id)
                    try:
                        self._run_job(job)
                    finally:
                        self._active_ids.discard(job.id)
            except Exception:  # transient: database restart; the job is not active and will be claimed again
                LOG.exception("a job of the kind %s", kind)
                self._shutting_down.wait(POLL_S)
            else:
                self._jobs.wait(n_wakes, timeout_s=POLL_S)

    def _should_continue(self, job: Job) -> bool:
        if self._shutting_down.is_set():
            return False
        try:
            return self._jobs.should_continue(job.id)
        except OperationalError:  # the database restarts
            return True

    def _run_job(self, job: Job) -> None:
        should_continue = partial(self._should_continue, job)
        try:
            if job.kind == "retrain":
                self._retraining.run(job, should_continue)
            else:
                self._identify(job, should_continue)
        except DawnChorusError as error:
            if isinstance(error, PlugInError):
                LOG.exception("job %s", job.id)
            name = f"{job.parameters['name']}: " if isinstance(error, AudioError) else ""
            self._jobs.finish(job.id, "failed", error=f"{name}{error.reason}")
            if job.kind == "identify":
                self._list_failure(job.parameters, error.reason)
        except SQLAlchemyError:
            raise
        except Exception as error:
            LOG.exception("job %s", job.id)
            self._jobs.finish(
                job.id, "failed", error=f"{type(error).__name__}. Details are in the server log under {job.id}."
            )
        if not self._shutting_down.is_set() and self._jobs.is_cancel_requested(job.id):
            self._jobs.finish(job.id, "cancelled")
            self._retraining.clear(job.id)
        elif "sha256" in job.parameters:  # a cancelled job can be started again, until the next sweep
            self._files.delete_unused(job.parameters["sha256"])

    def _list_failure(self, parameters: dict[str, Any], reason: str) -> None:
        with suppress(NotFoundError):  # its file is gone
            path = self._files.local(parameters["sha256"])
            site = parameters.get("site")
            self._detections.store_failure(path, name=parameters["name"], reason=reason, site=site)

    def _identify(self, job: Job, should_continue: Callable[[], bool]) -> None:
        parameters = job.parameters
        path = self._files.local(parameters["sha256"])
        options = Options.from_fields(parameters["options"])
        if options.latitude is not None:
            self._pool.warm(options)
        future = self._pool.submit(path, options, name=parameters["name"], bypass_queue_limit=True)
        last_report_s = time.monotonic()
        while True:
            try:
                result = future.result(timeout=CANCEL_CHECK_S)
                break
            except FutureTimeout:
                if not should_continue():
                    future.cancel()
                    return
            except CancelledError:  # the pool is closing
                return
            if time.monotonic() - last_report_s >= PROGRESS_INTERVAL_S:
                last_report_s = time.monotonic()
                self._jobs.update_progress(job.id, "identifying", future.work.share_done)
        site = parameters.get("site")
        stored = self._detections.store(result, path, name=parameters["name"], options=options, site=site)
        summary = {
            "recording": parameters["sha256"],
            "n_detections": len(result.table.detections),
            "duration_s": result.table.duration_s,
            "bundle_id": result.bundle.id,
            "warnings": list(stored.warnings),
            "notes": list(result.notes),
        }
        self._jobs.finish(job.id, "done", result=summary)
