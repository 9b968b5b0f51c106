"""API routes for background jobs: progress, events, cancellation, restart and deletion."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.routes.replies import Limit, Offset, error_responses, job_fields
from dawnchorus.server.settings import Role
from dawnchorus.server.state.job_queue import Kind
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job

POLL_S = 0.3
"""Interval at which an event stream looks for new events in the database."""
RETRY_MS = 1000
"""Milliseconds after which a client reconnects to an interrupted event stream."""

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="Id of the job.")]

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.get("", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def jobs(
    service: ServiceDependency,
    kind: Annotated[Kind | None, Query(description="Kind of the jobs.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Return the number of jobs of the kind (`total`), and a page of these `jobs`, the latest first.

    `kind` is "identify" or "retrain"; without it, jobs of all kinds are listed.
    """
    n, rows = service.jobs.find(kind=kind, limit=limit, offset=offset)
    return {"total": n, "jobs": [job_fields(job) for job in rows]}


@router.get("/{job_id}", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404))
def job(service: ServiceDependency, job_id: JobId) -> dict[str, Any]:
    """Return a job: the columns of the table `Job` and the URL path of its `events`.

    The columns `worker_id` and `heartbeat_at` are left out. `status` is "queued", "running", "done", "failed" or
    "cancelled"; `progress` is from 0 to 1; `result` is null until the job is done.
    """
    return job_fields(service.jobs.get(job_id))


@router.get("/{job_id}/log", dependencies=[require_role(Role.TRAIN)], responses=error_responses(404))
def log(service: ServiceDependency, job_id: JobId) -> dict[str, Any]:
    """Return the last 50 lines of a retraining's log, in order (`lines`).

    The list is empty for other jobs, and on servers that did not run the retraining.
    """
    return {"lines": service.retraining.log(service.jobs.get(job_id).id)}


@router.post("/{job_id}/cancel", dependencies=[require_role(Role.TRAIN)], responses=error_responses(404))
def cancel(service: ServiceDependency, job_id: JobId) -> dict[str, Any]:
    """Cancel a queued job, or request the cancellation of a running job, which takes seconds; return the job.

    A job that has ended does not change.
    """
    return job_fields(service.jobs.cancel(job_id))


@router.post(
    "/{job_id}/restart", dependencies=[require_role(Role.TRAIN)], status_code=202, responses=error_responses(404, 409)
)
def restart(service: ServiceDependency, job_id: JobId) -> dict[str, Any]:
    """Start a new job with the arguments of a job that was cancelled or failed, and return the new job.

    404 if there is no such job, or its audio file was deleted: an hourly clean-up deletes the files of cancelled
    identifications. 409 if the job has not ended, another retraining is queued or running, or the queue is full; 400 if
    the job is done, or a retraining has no training data.
    """
    return job_fields(service.restart(job_id))


@router.delete(
    "/{job_id}", dependencies=[require_role(Role.ADMIN)], status_code=204, responses=error_responses(404, 409)
)
def remove(service: ServiceDependency, job_id: JobId) -> Response:
    """Delete a job that has ended; 409 if it is queued or running, 404 if there is no such job."""
    service.jobs.remove(job_id)
    return Response(status_code=204)


async def _get_job(service: ServiceDependency, job_id: JobId) -> Job:
    return await run_in_threadpool(service.jobs.get, job_id)


@router.get(
    "/{job_id}/events",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=EventSourceResponse,
    responses=error_responses(404),
)
async def events(
    service: ServiceDependency,
    job: Annotated[Job, Depends(_get_job)],
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event that the client has received.")
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of a job as server-sent events, until the job ends (event `end`) or the server shuts down.

    The stream starts with the first event, or with the event after the id in the header Last-Event-ID. The data of an
    event are its time `at`, and `status`, `stage`, `progress` and `error` of the job. Events of a retraining may have
    `message`, `epoch`, `n_epochs`, `left_s`, `metrics` and `outcome` (schema `RetrainEvent`).
    """
    after = int(last_event_id) if last_event_id and re.fullmatch(r"[0-9]{1,18}", last_event_id) else 0
    yield ServerSentEvent(retry=RETRY_MS)
    while not service.shutting_down.is_set():
        # The status is read before the events, so that the last event is not missed.
        is_over = (await run_in_threadpool(service.jobs.get, job.id)).status not in ACTIVE_STATUSES
        rows = await run_in_threadpool(service.jobs.events, job.id, after=after)
        for row in rows:
            after = row.id
            data = {"at": row.at.isoformat(timespec="milliseconds"), **row.data}
            yield ServerSentEvent(id=str(row.id), data=data)
        if is_over and not rows:
            yield ServerSentEvent(event="end", data={})
            return
        if not rows:
            await asyncio.sleep(POLL_S)
