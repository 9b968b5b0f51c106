"""The threads of a server that work on jobs, and keep up with other servers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from dawnchorus.errors import AudioError, DawnChorusError
from dawnchorus.identification.options import Options
from dawnchorus.server.history import History
from dawnchorus.server.registry import Registry
from dawnchorus.server.scheduling import Lanes
from dawnchorus.server.state.blobs import FileStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.job_queue import KINDS, Jobs, Kind
from dawnchorus.server.state.retention import drop_unneeded
from dawnchorus.server.state.tables import Job
from dawnchorus.server.training.runner import Learning

LOG = logging.getLogger(__name__)

N_THREADS: dict[Kind, int] = {"identify": 2, "retrain": 1}
POLL_S = 0.25
BEAT_S, FOLLOW_S, TIDY_S = 1.0, 1.0, 3600.0
TELL_S = 0.5
CUT_OFF = timedelta(days=1)
"""A file whose writing has not ended for so long is not written any more."""

LOOK_S = 0.2
"""Seconds between checks whether a job is still wanted."""


class Workers:
    """Threads for each kind of job, and for what is done again and again."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        lanes: Lanes,
        history: History,
        files: FileStore,
        learning: Learning,
        registry: Registry,
        *,
        kinds: Collection[Kind] = KINDS,
    ) -> None:
        self._database = database
        self._jobs, self._lanes, self._history, self._files = jobs, lanes, history, files
        self._learning = learning
        self._ending = threading.Event()
        self._in_hand: set[str] = set()
        wanted = [kind for kind in N_THREADS for _ in range(N_THREADS[kind]) if kind in kinds]
        self._threads = [threading.Thread(target=self._work, args=(kind,), daemon=True) for kind in wanted]
        chores = ((BEAT_S, self._beat), (FOLLOW_S, registry.follow), (TIDY_S, self._tidy))
        self._threads += [threading.Thread(target=self._again, args=chore, daemon=True) for chore in chores]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; what is not done goes back to the queue."""
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout=10)
        try:
            self._jobs.give_back()
        except SQLAlchemyError:
            LOG.exception("the database is gone; other servers, or the next start, take the jobs over")

    def _again(self, every_s: float, chore: Callable[[], None]) -> None:
        while not self._ending.wait(every_s):
            try:
                chore()
            except Exception:  # the database restarts, a bundle is not there yet: next time
                LOG.exception("a chore; it is tried again in %g s", every_s)

    def _beat(self) -> None:
        self._jobs.beat(tuple(self._in_hand))

    def _tidy(self) -> None:
        self._learning.tidy()
        self._files.sweep_parts(older_than=CUT_OFF)

    def _work(self, kind: Kind) -> None:
        while not self._ending.wait(POLL_S):
            try:
                while not self._ending.is_set() and (job := self._jobs.claim(kind)) is not None:
                    self._in_hand.add(job.id)
                    try:
                        self._carry_out(job)
                    finally:
                        self._in_hand.discard(job.id)
            except Exception:  # the database restarts; nothing is lost, what nobody has in hand is claimed again
                LOG.exception("a job of the kind %s", kind)

    def _carry_out(self, job: Job) -> None:
        def is_wanted() -> bool:
            if self._ending.is_set():
                return False
            try:
                return self._jobs.is_wanted(job.id)
            except OperationalError:  # the database restarts
                return True

        try:
            if job.kind == "retrain":
                self._learning.work(job, is_wanted)
            else:
                self._identify(job, is_wanted)
        except DawnChorusError as error:
            self._jobs.end(job.id, "failed", error=str(error))
        except SQLAlchemyError:
            raise
        except Exception as error:
            LOG.exception("job %s", job.id)
            self._jobs.end(job.id, "failed", error=f"{type(error).__name__}. The log has more under {job.id}.")
        if not self._ending.is_set() and self._jobs.is_unwanted(job.id):
            self._jobs.end(job.id, "cancelled")
            self._learning.clear(job.id)
        if "sha256" in job.parameters:
            drop_unneeded(self._database, self._files, job.parameters["sha256"])

    def _identify(self, job: Job, is_wanted: Any) -> None:
        parameters = job.parameters
        path = self._files.local(parameters["sha256"])
        told = [0.0]

        def progress(share: float) -> None:
            told[0] = share

        options = Options(**parameters["options"])
        if options.latitude is not None:
            self._lanes.warm(options)
        future = self._lanes.submit(path, options, name=parameters["name"], patient=True, on_progress=progress)
        last = time.monotonic()
        while True:
            try:
                found = future.result(timeout=LOOK_S)
                break
            except AudioError as error:
                raise type(error)(str(error).replace(str(path), parameters["name"])) from error
            except NotYet:
                if not is_wanted():
                    future.cancel()
                    return
            except CancelledError:  # the lanes are closing
                return
            if time.monotonic() - last >= TELL_S:
                last = time.monotonic()
                self._jobs.tell(job.id, "listening", told[0])
        self._history.keep(found, path, parameters["name"])
        result = {
            "recording": parameters["sha256"],
            "n_detections": len(found.table.detections),
            "duration_s": found.table.duration_s,
            "bundle_id": found.bundle.id,
            "warnings": list(found.warnings),
            "notes": list(found.notes),
        }
        self._jobs.end(job.id, "done", result=result)
