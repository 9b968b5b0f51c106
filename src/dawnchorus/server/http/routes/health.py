"""Health checks for load balancers, which need no token, and metrics for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.routes.replies import error_responses
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import ACTIVE_STATUSES

router = APIRouter(tags=["health"])


@router.get("/api/v1/health/live", dependencies=[require_role(Role.PUBLIC, is_probe=True)], responses=error_responses())
async def live() -> dict[str, str]:
    """Return status 200 and `{"status": "live"}` as long as the server process answers."""
    return {"status": "live"}


@router.get(
    "/api/v1/health/ready", dependencies=[require_role(Role.PUBLIC, is_probe=True)], responses=error_responses(503)
)
async def ready(service: ServiceDependency) -> dict[str, str]:
    """Return status 200 while the server accepts requests, 503 while it shuts down.

    The response has the `status` "ready", and the `bundle_id` of the active model.
    """
    service.check_ready()
    return {"status": "ready", "bundle_id": service.pool.bundle.id}


@router.get("/metrics", dependencies=[require_role(Role.IDENTIFY)], include_in_schema=False)
def prometheus(service: ServiceDependency) -> Response:
    """Return the metrics of this server in Prometheus' text format."""
    metrics = service.metrics
    metrics.waiting.set(service.pool.n_waiting)
    for status, n in service.jobs.count_by_status(ACTIVE_STATUSES).items():
        metrics.jobs.labels(status).set(n)
    metrics.model.clear()
    metrics.model.labels(service.pool.bundle.id).set(1)
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
