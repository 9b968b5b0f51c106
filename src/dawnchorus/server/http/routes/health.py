"""Health checks for load balancers, which have no token, and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response

from dawnchorus.server.http.auth import needs
from dawnchorus.server.http.dependencies import ServiceOf
from dawnchorus.server.http.routes.replies import problems
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import ACTIVE_STATUSES

router = APIRouter(tags=["health"])


@router.get("/api/v1/health/live", dependencies=[needs(Role.OPEN)], responses=problems())
async def live() -> dict[str, str]:
    """Return 200 while the process answers."""
    return {"status": "live"}


@router.get("/api/v1/health/ready", dependencies=[needs(Role.OPEN)], responses=problems(503))
async def ready(service: ServiceOf) -> dict[str, str]:
    """Return 200 while the model is loaded and the server is not about to end."""
    service.check_ready()
    return {"status": "ready", "bundle_id": service.lanes.bundle.id}


@router.get("/metrics", dependencies=[needs(Role.IDENTIFY)], include_in_schema=False)
def prometheus(service: ServiceOf) -> Response:
    """For Prometheus."""
    meters = service.meters
    meters.waiting.set(service.lanes.n_waiting)
    for status, n in service.jobs.counts(ACTIVE_STATUSES).items():
        meters.jobs.labels(status).set(n)
    meters.model.clear()
    meters.model.labels(service.lanes.bundle.id).set(1)
    return Response(meters.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
