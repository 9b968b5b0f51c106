"""Queue of background jobs in the database, shared by all servers of that database."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import and_, delete, event, func, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from dawnchorus.errors import BusyError, NotFoundError
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job, JobEvent, JobFile

Kind = Literal["identify", "retrain"]
"""Kind of a job."""
KINDS: tuple[Kind, ...] = get_args(Kind)

STALE_S = 15.0
"""Time without a heartbeat after which the server of a job counts as dead, and the job is requeued."""

MAX_CHECK_INTERVAL_S = 3.0
"""Maximum time that one check adds to the time without a heartbeat.

After a pause of the checking server or of the database, the checking server may have missed heartbeats.
"""

MAX_ATTEMPTS = 3
"""Number of attempts after which a job fails if its server died each time, since the job may be the cause."""

MAX_JOBS = 1000
"""Maximum number of queued jobs."""


Heartbeat = tuple[str | None, int, datetime | None]
"""State of a running job that changes with each heartbeat: worker id, number of attempts, time of the heartbeat."""


@dataclass(frozen=True)
class _Silence:
    """The last heartbeat of a job, and the seconds for which this server has seen no newer heartbeat."""

    heartbeat: Heartbeat
    duration_s: float = 0.0


class JobQueue:
    """Access of one server to the queue of jobs of the kinds "identify" and "retrain".

    A server that runs jobs writes heartbeats, and counts as dead when another server has seen no new heartbeat for
    `STALE_S` by its own monotonic clock. Times of two servers are never compared, because their clocks may differ.

    Args:
        database: database with the queue.
        worker_id: unique id of this server.
        monotonic: monotonic clock in seconds; tests use another one.
    """

    def __init__(self, database: Database, *, worker_id: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self.worker_id = worker_id
        self._monotonic = monotonic
        self._last_check_s = monotonic()
        self._silences: dict[str, _Silence] = {}
        self._woken = threading.Condition()
        self._n_wakes = 0

    @property
    def n_wakes(self) -> int:
        """Number of calls of `wake` until now, which `wait` compares."""
        return self._n_wakes

    def wake(self) -> None:
        """End all calls of `wait` in this process. The queue does so itself whenever it adds or requeues a job."""
        with self._woken:
            self._n_wakes += 1
            self._woken.notify_all()

    def wait(self, n_wakes: int, *, timeout_s: float) -> None:
        """Wait until `wake` is called, or for `timeout_s` seconds, since jobs of other servers wake nobody here.

        Args:
            n_wakes: value of `self.n_wakes` before the caller looked for a job; if it has grown, the call returns at
                once.
            timeout_s: maximum time to wait, in seconds.
        """
        with self._woken:
            self._woken.wait_for(lambda: self._n_wakes != n_wakes, timeout_s)

    def add(self, kind: Kind, parameters: Mapping[str, Any]) -> Job:
        """Add a job to the queue in a transaction of its own, and return the job; see `insert` for the arguments.

        Raises:
            BusyError: see `insert`.
        """
        with self._database.write() as session:
            return self.insert(session, kind, parameters)

    def insert(
        self, session: Session, kind: Kind, parameters: Mapping[str, Any], *, files: Collection[str] = ()
    ) -> Job:
        """Add a job to the queue in the caller's transaction, and return the job.

        Args:
            session: session of the write transaction.
            kind: kind of the job, "identify" or "retrain".
            parameters: arguments of the job by name, as JSON values; see `Job.parameters`.
            files: sha256 of the stored files that must not be deleted before the job ends; empty if it needs none.

        Raises:
            BusyError: `kind` is "retrain" and a retraining is queued or running, or `MAX_JOBS` jobs are queued.
        """
        job = Job(id=uuid.uuid4().hex, kind=kind, parameters=dict(parameters))
        waiting = select(func.count()).select_from(Job).where(Job.status == "queued")
        if (session.scalar(waiting) or 0) >= MAX_JOBS:
            raise BusyError(f"the queue is full: {MAX_JOBS} jobs are waiting. Try again when some are done.")
        session.add(job)
        try:
            session.flush()
        except IntegrityError as error:
            raise BusyError("a retraining is in progress. Wait for its end, or cancel it.") from error
        session.add(JobEvent(job=job.id, data=_to_dict(job)))
        session.add_all(JobFile(job=job.id, sha256=sha256) for sha256 in files)
        self._wake_after_commit(session)
        return job

    def get(self, job_id: str) -> Job:
        """Return the job with this id.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._database.read() as session:
            job = session.get(Job, job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id[:32]}.")
        return job

    def find(self, *, kind: Kind | None = None, limit: int = 50, offset: int = 0) -> tuple[int, list[Job]]:
        """Return the number of all jobs of the kind, and a page of the list of these jobs, the latest added first.

        Args:
            kind: kind of the jobs, "identify" or "retrain"; None for all kinds.
            limit: maximum number of jobs in the page.
            offset: number of jobs before the page.
        """
        query = select(Job) if kind is None else select(Job).where(Job.kind == kind)
        with self._database.read() as session:
            n = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            rows = session.scalars(query.order_by(Job.created_at.desc(), Job.id).limit(limit).offset(offset))
            return n, list(rows)

    def latest_done(self, kind: Kind) -> Job | None:
        """Return the job of this kind that was completed last (status "done"); None if no job was completed."""
        query = select(Job).where(Job.kind == kind, Job.status == "done").order_by(Job.ended_at.desc()).limit(1)
        with self._database.read() as session:
            return session.scalar(query)

    def count_by_status(self, statuses: tuple[str, ...], *, kind: Kind | None = None) -> dict[str, int]:
        """Return the number of jobs by status, for each of `statuses` (values of `Job.status`); 0 if there are none.

        Only jobs of the kind `kind` are counted; None for all kinds.
        """
        query = select(Job.status, func.count()).where(Job.status.in_(statuses)).group_by(Job.status)
        query = query if kind is None else query.where(Job.kind == kind)
        with self._database.read() as session:
            counts = {row[0]: row[1] for row in session.execute(query)}
        return {**dict.fromkeys(statuses, 0), **counts}

    def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """Return the first 500 events of the job with ids above `after`, by rising id; empty for an unknown job."""
        query = select(JobEvent).where(JobEvent.job == job_id, JobEvent.id > after).order_by(JobEvent.id).limit(500)
        with self._database.read() as session:
            return list(session.scalars(query))

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued job, or request the cancellation of a running job, and return the job.

        A job that has ended does not change.

        Raises:
            NotFoundError: there is no such job.
        """
        self.get(job_id)
        with self._database.write() as session:
            job = session.get_one(Job, job_id, with_for_update=True)
            if job.status in ACTIVE_STATUSES:
                job.cancel_requested = True
            if job.status == "queued":
                job.status, job.stage, job.ended_at = "cancelled", "cancelled", now()
                session.add(JobEvent(job=job.id, data=_to_dict(job)))
            return job

    # ------------------------------------------------------------------ for workers

    def claim(self, kind: Kind) -> Job | None:
        """Assign the oldest queued job of this kind to this server and set it running; return None if there is none."""
        with self._database.read() as session:
            # By the database's own numbers: the clocks of the servers that added them may differ.
            order = select(func.min(JobEvent.id)).where(JobEvent.job == Job.id).scalar_subquery()
            waiting = select(Job.id).where(Job.kind == kind, Job.status == "queued").order_by(order).limit(8)
            ids = list(session.scalars(waiting))
        for job_id in ids:
            with self._database.write() as session:
                claim = (
                    update(Job)
                    .where(Job.id == job_id, Job.status == "queued")
                    .values(
                        status="running",
                        worker_id=self.worker_id,
                        heartbeat_at=now(),
                        started_at=func.coalesce(Job.started_at, now()),
                        attempts=Job.attempts + 1,
                    )
                )
                if session.execute(claim).rowcount:  # type: ignore[attr-defined]
                    job = session.get_one(Job, job_id)
                    session.add(JobEvent(job=job_id, data=_to_dict(job)))
                    return job
        return None

    def update_progress(
        self, job_id: str, stage: str, progress: float, details: Mapping[str, Any] | None = None
    ) -> None:
        """Write the progress of a job that this server runs, and add an event for clients.

        Nothing is written if the job no longer runs on this server, or the database cannot be reached.

        Args:
            job_id: id of the job.
            stage: stage of the work in one or two words, for the user.
            progress: progress of the job, 0 to 1. If it is lower than before, the earlier value stays, and stage and
                event are still written.
            details: further fields of the event's data, such as those of a `RetrainEvent`, which replace fields of
                `Job` of the same name; None for none.
        """
        with suppress(OperationalError), self._database.write() as session:
            job = self._owned_job(session, job_id)
            if job is None:
                return
            job.stage, job.progress, job.heartbeat_at = stage, max(job.progress, round(progress, 4)), now()
            session.add(JobEvent(job=job_id, data={**_to_dict(job), **(details or {})}))

    def should_continue(self, job_id: str) -> bool:
        """Return True while the job runs on this server and no client has requested the job's cancellation."""
        with self._database.read() as session:
            job = session.get(Job, job_id)
            return (
                job is not None
                and job.worker_id == self.worker_id
                and job.status == "running"
                and not job.cancel_requested
            )

    def is_cancel_requested(self, job_id: str) -> bool:
        """Return True if the job runs on this server and a client has requested the job's cancellation."""
        with self._database.read() as session:
            job = session.get(Job, job_id)
            return (
                job is not None and job.worker_id == self.worker_id and job.status == "running" and job.cancel_requested
            )

    def finish(
        self, job_id: str, status: str, *, result: Mapping[str, Any] | None = None, error: str | None = None
    ) -> None:
        """End a job that runs on this server; nothing changes if the job no longer does, such as after a requeue.

        Args:
            job_id: id of the job.
            status: final status: "done", "failed" or "cancelled".
            result: values of the result by name, for "done", else None.
            error: reason of the failure, for "failed", else None.
        """
        with self._database.write() as session:
            job = self._owned_job(session, job_id)
            if job is None:
                return
            job.status, job.stage, job.ended_at = status, status, now()
            job.result, job.error = None if result is None else dict(result), error
            job.progress = 1.0 if status == "done" else job.progress
            session.add(JobEvent(job=job_id, data=_to_dict(job)))

    def _owned_job(self, session: Session, job_id: str) -> Job | None:
        """Return the job if it is running on this server, else None."""
        job = session.get(Job, job_id, with_for_update=True)
        return job if job is not None and job.status == "running" and job.worker_id == self.worker_id else None

    def release(self) -> None:
        """Return this server's running jobs to the queue, without counting the attempt.

        Jobs whose cancellation was requested are cancelled instead.
        """
        with self._database.write() as session:
            owned = update(Job).where(Job.worker_id == self.worker_id, Job.status == "running")
            session.execute(owned.values(attempts=Job.attempts - 1))
        self._requeue(Job.worker_id == self.worker_id)

    def heartbeat(self, active_ids: Collection[str]) -> None:
        """Write a heartbeat for this server's active jobs, and requeue the jobs of dead servers.

        Jobs of dead servers whose cancellation was requested are cancelled, and those with `MAX_ATTEMPTS` attempts
        fail.

        Args:
            active_ids: ids of the jobs on which this server is working; its other running jobs get no heartbeat, so
                that they are requeued later.
        """
        if active_ids:
            owned = (Job.worker_id == self.worker_id, Job.status == "running", Job.id.in_(active_ids))
            with self._database.write() as session:
                session.execute(update(Job).where(*owned).values(heartbeat_at=now()))
        for job_id, heartbeat in self._find_abandoned():
            worker_id, attempts, heartbeat_at = heartbeat
            same = (
                Job.worker_id == worker_id,
                Job.attempts == attempts,
                Job.heartbeat_at.is_not_distinct_from(heartbeat_at),
            )
            self._requeue(and_(Job.id == job_id, *same))

    def _find_abandoned(self) -> list[tuple[str, Heartbeat]]:
        """Return the id and the last heartbeat of each running job whose server counts as dead."""
        running = select(Job.id, Job.worker_id, Job.attempts, Job.heartbeat_at).where(Job.status == "running")
        with self._database.read() as session:
            heartbeats: dict[str, Heartbeat] = {
                job_id: (worker_id, attempts, heartbeat_at)
                for job_id, worker_id, attempts, heartbeat_at in session.execute(running)
            }
        interval_s = min(self._monotonic() - self._last_check_s, MAX_CHECK_INTERVAL_S)
        self._last_check_s = self._monotonic()
        self._silences = {
            job_id: _Silence(heartbeat, known.duration_s + interval_s)
            if (known := self._silences.get(job_id)) and known.heartbeat == heartbeat
            else _Silence(heartbeat)
            for job_id, heartbeat in heartbeats.items()
        }
        return [
            (job_id, silence.heartbeat) for job_id, silence in self._silences.items() if silence.duration_s > STALE_S
        ]

    def requeue_orphans(self) -> None:
        """Requeue all running jobs of other servers; only for a server that uses the database alone, at its start.

        Jobs whose cancellation was requested are cancelled, and jobs with `MAX_ATTEMPTS` attempts fail.
        """
        self._requeue(Job.worker_id != self.worker_id)

    def _requeue(self, condition: Any) -> None:
        with self._database.write() as session:
            running = select(Job).where(Job.status == "running", condition).with_for_update(skip_locked=True)
            for job in session.scalars(running):
                if job.cancel_requested:
                    job.status, job.stage, job.ended_at = "cancelled", "cancelled", now()
                elif job.attempts >= MAX_ATTEMPTS:
                    job.status, job.stage, job.ended_at = "failed", "failed", now()
                    job.error = f"its server ended {job.attempts} times while it worked on this job; it is not retried."
                else:
                    job.status, job.stage, job.worker_id = "queued", "interrupted, waiting", None
                session.add(JobEvent(job=job.id, data=_to_dict(job)))
            self._wake_after_commit(session)

    def _wake_after_commit(self, session: Session) -> None:
        event.listen(session, "after_commit", lambda _session: self.wake())

    def remove(self, job_id: str) -> None:
        """Delete a job that has ended, with its events.

        Raises:
            NotFoundError: there is no such job.
            BusyError: the job is queued or running.
        """
        if self.get(job_id).status in ACTIVE_STATUSES:
            raise BusyError("the job has not ended. Cancel it first.")
        with self._database.write() as session:
            session.execute(delete(Job).where(Job.id == job_id))


def _to_dict(job: Job) -> dict[str, Any]:
    return {"status": job.status, "stage": job.stage, "progress": job.progress, "error": job.error}
