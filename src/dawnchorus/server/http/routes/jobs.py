"""Jobs: progress, events, cancellation."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.routes.replies import Limit, Offset, error_responses, job_fields
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.job_queue import Kind
from dawnchorus.server.state.retention import delete_if_unreferenced
from dawnchorus.server.state.tables import ACTIVE_STATUSES

POLL_S = 0.3
ALIVE_S = 10.0
"""Seconds between comments in an idle stream, so that no proxy closes it."""

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
    job = service.jobs.cancel(job_id)
    if job.status == "cancelled" and "sha256" in job.parameters:
        delete_if_unreferenced(service.database, service.files, job.parameters["sha256"])
    return job_fields(job)


@router.delete(
    "/{job_id}", dependencies=[require_role(Role.ADMIN)], status_code=204, responses=error_responses(404, 409)
)
def remove(service: ServiceDependency, job_id: JobId) -> Response:
    """Delete a finished job."""
    service.jobs.remove(job_id)
    return Response(status_code=204)


@router.get(
    "/{job_id}/events",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **error_responses(404)},
)
async def events(
    request: Request, service: ServiceDependency, job_id: JobId, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """Stream server-sent events, from the first or the one after Last-Event-ID; the stream ends with the job."""
    await asyncio.to_thread(service.jobs.get, job_id)
    after = int(last_event_id) if last_event_id and re.fullmatch(r"[0-9]{1,18}", last_event_id) else 0
    stream = _stream(request, service, job_id, after)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


async def _stream(request: Request, service: Service, job_id: str, after: int) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    last = time.monotonic()
    while not service.shutting_down.is_set() and not await request.is_disconnected():
        # The status is read before the events, so that the last event is not missed.
        is_over = (await asyncio.to_thread(service.jobs.get, job_id)).status not in ACTIVE_STATUSES
        events = await asyncio.to_thread(service.jobs.events, job_id, after=after)
        for event in events:
            after, last = event.id, time.monotonic()
            data = {"at": event.at.isoformat(timespec="milliseconds"), **event.data}
            yield f"id: {event.id}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        if is_over and not events:
            yield "event: end\ndata: {}\n\n"
            return
        if time.monotonic() - last > ALIVE_S:
            last = time.monotonic()
            yield ": still there\n\n"
        if not events:
            await asyncio.sleep(POLL_S)
