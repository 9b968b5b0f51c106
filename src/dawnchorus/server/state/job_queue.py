"""Work that outlives its request and its server: a queue in the database, shared by all servers of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from dawnchorus.errors import BusyError, NotFoundError
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job, JobEvent

Kind = Literal["identify", "retrain"]
KINDS: tuple[Kind, ...] = get_args(Kind)

STALE_S = 15.0
"""A server that was not heard of for so long is gone, and its jobs are taken over."""

MAX_LOOK_S = 3.0
"""Most that one look adds to the time without a heartbeat: a server that could not look learns nothing meanwhile."""

MAX_ATTEMPTS = 3
"""A job whose server ended so often is not tried again: it may be the reason."""

MAX_JOBS = 1000
"""More may not wait."""


Heartbeat = tuple[str | None, int, datetime | None]
"""Owner, attempt and last sign of life of a running job: it differs after each heartbeat."""


@dataclass(frozen=True)
class _Silence:
    """The last heartbeat of a job, and the time that this server has seen no other."""

    heartbeat: Heartbeat
    duration_s: float = 0.0


class Jobs:
    """The queue, as one server sees it.

    A server is gone when its heartbeats have not changed for `STALE_S` by the `monotonic` clock of the one that looks;
    times that two servers wrote are never compared, because their clocks may differ.
    """

    def __init__(self, database: Database, *, owner: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self.owner = owner
        self._monotonic = monotonic
        self._looked_at_s = monotonic()
        self._silences: dict[str, _Silence] = {}

    def add(
        self, kind: Kind, parameters: Mapping[str, Any], *, about: str | None = None, ready: Callable[[], object] = bool
    ) -> Job:
        """Have something done; `ready` is called just before, while others cannot write `about` the same.

        Raises:
            BusyError: a retraining is under way already, or too much waits.
        """
        job = Job(id=uuid.uuid4().hex, kind=kind, parameters=dict(parameters))
        try:
            with self._database.write(about=about) as session:
                ready()
                waiting = select(func.count()).select_from(Job).where(Job.status == "queued")
                if (session.scalar(waiting) or 0) >= MAX_JOBS:
                    raise BusyError(f"{MAX_JOBS} jobs wait already. Try again when some are done.")
                session.add(job)
                session.flush()
                session.add(JobEvent(job=job.id, data=_shown(job)))
        except IntegrityError as error:
            raise BusyError("a retraining is under way already. Wait for its end, or cancel it.") from error
        return job

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.read() as session:
            job = session.get(Job, job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id[:32]}.")
        return job

    def find(self, *, kind: Kind | None = None, limit: int = 50, offset: int = 0) -> tuple[int, list[Job]]:
        """Return the number of jobs, and some of them, the latest first."""
        query = select(Job) if kind is None else select(Job).where(Job.kind == kind)
        with self._database.read() as session:
            n = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            rows = session.scalars(query.order_by(Job.created_at.desc(), Job.id).limit(limit).offset(offset))
            return n, list(rows)

    def latest_done(self, kind: Kind) -> Job | None:
        """Return the job that was done last, or None."""
        query = select(Job).where(Job.kind == kind, Job.status == "done").order_by(Job.ended_at.desc()).limit(1)
        with self._database.read() as session:
            return session.scalar(query)

    def counts(self, statuses: tuple[str, ...], *, kind: Kind | None = None) -> dict[str, int]:
        """Return the number of jobs of a kind, or of all, in each of the statuses."""
        query = select(Job.status, func.count()).where(Job.status.in_(statuses)).group_by(Job.status)
        query = query if kind is None else query.where(Job.kind == kind)
        with self._database.read() as session:
            found = {row[0]: row[1] for row in session.execute(query)}
        return {**dict.fromkeys(statuses, 0), **found}

    def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """Return the job's events since the event `after`."""
        query = select(JobEvent).where(JobEvent.job == job_id, JobEvent.id > after).order_by(JobEvent.id).limit(500)
        with self._database.read() as session:
            return list(session.scalars(query))

    def cancel(self, job_id: str) -> Job:
        """Ask for its end; one that only waits ends at once.

        Raises:
            NotFoundError: there is none.
        """
        self.get(job_id)
        with self._database.write() as session:
            job = session.get_one(Job, job_id, with_for_update=True)
            if job.status in ACTIVE_STATUSES:
                job.is_cancelled = True
            if job.status == "queued":
                job.status, job.stage, job.ended_at = "cancelled", "cancelled", now()
                session.add(JobEvent(job=job.id, data=_shown(job)))
            return job

    # ------------------------------------------------------------------ for those who work

    def claim(self, kind: Kind) -> Job | None:
        """Claim the oldest waiting job; None where none waits."""
        with self._database.read() as session:
            # By the database's own numbers: the clocks of the servers that added them may differ.
            order = select(func.min(JobEvent.id)).where(JobEvent.job == Job.id).scalar_subquery()
            waiting = select(Job.id).where(Job.kind == kind, Job.status == "queued").order_by(order).limit(8)
            ids = list(session.scalars(waiting))
        for job_id in ids:
            with self._database.write() as session:
                mine = (
                    update(Job)
                    .where(Job.id == job_id, Job.status == "queued")
                    .values(
                        status="running",
                        owner=self.owner,
                        seen_at=now(),
                        started_at=func.coalesce(Job.started_at, now()),
                        attempts=Job.attempts + 1,
                    )
                )
                if session.execute(mine).rowcount:  # type: ignore[attr-defined]
                    job = session.get_one(Job, job_id)
                    session.add(JobEvent(job=job_id, data=_shown(job)))
                    return job
        return None

    def tell(self, job_id: str, stage: str, progress: float, details: Mapping[str, Any] | None = None) -> None:
        """Say how far it is; progress never goes back. While the database is gone, nothing is said."""
        with suppress(OperationalError), self._database.write() as session:
            job = self._mine(session, job_id)
            if job is None:
                return
            job.stage, job.progress, job.seen_at = stage, max(job.progress, round(progress, 4)), now()
            session.add(JobEvent(job=job_id, data={**_shown(job), **(details or {})}))

    def is_wanted(self, job_id: str) -> bool:
        """Return True if the job is still ours, and nobody cancelled it."""
        with self._database.read() as session:
            job = session.get(Job, job_id)
            return job is not None and job.owner == self.owner and job.status == "running" and not job.is_cancelled

    def is_unwanted(self, job_id: str) -> bool:
        """Return True if the job is ours, and somebody cancelled it."""
        with self._database.read() as session:
            job = session.get(Job, job_id)
            return job is not None and job.owner == self.owner and job.status == "running" and job.is_cancelled

    def end(
        self, job_id: str, status: str, *, result: Mapping[str, Any] | None = None, error: str | None = None
    ) -> None:
        """Write down how it ended."""
        with self._database.write() as session:
            job = self._mine(session, job_id)
            if job is None:
                return
            job.status, job.stage, job.ended_at = status, status, now()
            job.result, job.error = None if result is None else dict(result), error
            job.progress = 1.0 if status == "done" else job.progress
            session.add(JobEvent(job=job_id, data=_shown(job)))

    def _mine(self, session: Session, job_id: str) -> Job | None:
        """Return the job, if it is still ours to work on."""
        job = session.get(Job, job_id, with_for_update=True)
        return job if job is not None and job.status == "running" and job.owner == self.owner else None

    def give_back(self) -> None:
        """Release this server's unfinished jobs to others, or to its next start; that is no failed attempt."""
        with self._database.write() as session:
            mine = update(Job).where(Job.owner == self.owner, Job.status == "running")
            session.execute(mine.values(attempts=Job.attempts - 1))
        self._requeue(Job.owner == self.owner)

    def beat(self, in_hand: Collection[str]) -> None:
        """Say that this server lives and works on the jobs `in_hand`; take over what nobody works on any more."""
        with self._database.write() as session:
            mine = update(Job).where(Job.owner == self.owner, Job.status == "running", Job.id.in_(in_hand))
            session.execute(mine.values(seen_at=now()))
        for job_id, heartbeat in self._find_abandoned():
            owner, attempts, seen_at = heartbeat
            same = (Job.owner == owner, Job.attempts == attempts, Job.seen_at.is_not_distinct_from(seen_at))
            self._requeue(and_(Job.id == job_id, *same))

    def _find_abandoned(self) -> list[tuple[str, Heartbeat]]:
        """Return the running jobs whose heartbeat has not changed for `STALE_S`, with that heartbeat."""
        running = select(Job.id, Job.owner, Job.attempts, Job.seen_at).where(Job.status == "running")
        with self._database.read() as session:
            heartbeats: dict[str, Heartbeat] = {
                job_id: (owner, attempts, seen_at) for job_id, owner, attempts, seen_at in session.execute(running)
            }
        look_s = min(self._monotonic() - self._looked_at_s, MAX_LOOK_S)
        self._looked_at_s = self._monotonic()
        self._silences = {
            job_id: _Silence(heartbeat, known.duration_s + look_s)
            if (known := self._silences.get(job_id)) and known.heartbeat == heartbeat
            else _Silence(heartbeat)
            for job_id, heartbeat in heartbeats.items()
        }
        return [
            (job_id, silence.heartbeat) for job_id, silence in self._silences.items() if silence.duration_s > STALE_S
        ]

    def adopt_all(self) -> None:
        """Take over what earlier servers have left; only where no other server can be running."""
        self._requeue(Job.owner != self.owner)

    def _requeue(self, which: Any) -> None:
        with self._database.write() as session:
            running = select(Job).where(Job.status == "running", which).with_for_update(skip_locked=True)
            for job in session.scalars(running):
                if job.is_cancelled:
                    job.status, job.stage, job.ended_at = "cancelled", "cancelled", now()
                elif job.attempts >= MAX_ATTEMPTS:
                    job.status, job.stage, job.ended_at = "failed", "failed", now()
                    job.error = f"its server ended {job.attempts} times while it worked on this; it is not tried again."
                else:
                    job.status, job.stage, job.owner = "queued", "interrupted, waiting", None
                session.add(JobEvent(job=job.id, data=_shown(job)))

    def remove(self, job_id: str) -> None:
        """Forget a job that has ended.

        Raises:
            NotFoundError: there is none.
            BusyError: it has not ended.
        """
        if self.get(job_id).status in ACTIVE_STATUSES:
            raise BusyError("the job has not ended. Cancel it first.")
        with self._database.write() as session:
            session.execute(delete(Job).where(Job.id == job_id))


def _shown(job: Job) -> dict[str, Any]:
    return {"status": job.status, "stage": job.stage, "progress": job.progress, "error": job.error}
