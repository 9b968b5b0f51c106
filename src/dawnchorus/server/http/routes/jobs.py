"""Jobs: progress, events, cancellation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.routes.replies import Limit, Offset, error_responses, job_fields
from dawnchorus.server.settings import Role
from dawnchorus.server.state.job_queue import Kind
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job

POLL_S = 0.3
RETRY_MS = 1000
"""Pause of a client before it reconnects."""

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.get("", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def jobs(service: ServiceDependency, kind: Kind | None = None, limit: Limit = 50, offset: Offset = 0) -> dict[str, Any]:
    """Return jobs, the latest first."""
    n, rows = service.jobs.find(kind=kind, limit=limit, offset=offset)
    return {"total": n, "jobs": [job_fields(job) for job in rows]}


@router.get("/{job_id}", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404))
def job(service: ServiceDependency, job_id: JobId) -> dict[str, Any]:
    """Return the progress and the result of a job."""
    return job_fields(service.jobs.get(job_id))


@router.get("/{job_id}/log", dependencies=[require_role(Role.TRAIN)], responses=error_responses(404))
def log(service: ServiceDependency, job_id: JobId) -> dict[str, Any]:
    """Return the last lines of a retraining's log, on the server that ran it."""
    return {"lines": service.retraining.log(service.jobs.get(job_id).id)}


@router.post("/{job_id}/cancel", dependencies=[require_role(Role.TRAIN)], responses=error_responses(404))
def cancel(service: ServiceDependency, job_id: JobId) -> dict[str, Any]:
    """Request cancellation, which takes seconds."""
    return job_fields(service.jobs.cancel(job_id))


@router.post(
    "/{job_id}/restart", dependencies=[require_role(Role.TRAIN)], status_code=202, responses=error_responses(404, 409)
)
def restart(service: ServiceDependency, job_id: JobId) -> dict[str, Any]:
    """Start a job that was cancelled or failed again, as a new job.

    The file of a cancelled identification stays until a later hourly clean-up.
    """
    return job_fields(service.restart(job_id))


@router.delete(
    "/{job_id}", dependencies=[require_role(Role.ADMIN)], status_code=204, responses=error_responses(404, 409)
)
def remove(service: ServiceDependency, job_id: JobId) -> Response:
    """Delete a finished job."""
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
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Stream server-sent events, from the first or the one after Last-Event-ID; the stream ends with the job."""
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
