"""Models: which one serves, which could, and how they compare."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.identification.options import Options
from dawnchorus.identification.run import identify
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.auth import needs
from dawnchorus.server.http.dependencies import ServiceOf
from dawnchorus.server.http.routes.replies import JsonRoute, as_fields, problems
from dawnchorus.server.service import Service, unless_full
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import Model

MAX_COMPARED, MAX_COMPARED_S = 20, 300.0
"""Recordings, and the length of each: somebody waits for the answer."""

BundleId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]

router = APIRouter(prefix="/api/v1/models", tags=["models"], route_class=JsonRoute)


@router.get("", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def models(service: ServiceOf) -> dict[str, Any]:
    """All that the server knows, and which served when."""
    active = service.lanes.bundle.id
    history = [
        {"bundle_id": row.bundle_id, "at": row.at.isoformat(timespec="milliseconds"), "why": row.why}
        for row, _ in service.registry.history()
    ]
    return {"active": active, "models": [_fields(row, active) for row in service.registry.models()], "history": history}


def _fields(row: Model, active: str) -> dict[str, Any]:
    fields = as_fields(row)
    del fields["place"]
    return {**fields, "is_active": row.bundle_id == active}


@router.get("/active", dependencies=[needs(Role.IDENTIFY)], responses=problems())
def active(service: ServiceOf) -> dict[str, Any]:
    """Return the model that uploads are scored with."""
    bundle = service.lanes.bundle
    fields = bundle.info.model_dump(mode="json", exclude_none=True, exclude={"thresholds"})
    return {**fields, "bundle_id": bundle.id, "n_classes": len(bundle.labels)}


@router.get(
    "/{bundle_id}/card",
    dependencies=[needs(Role.IDENTIFY)],
    response_class=Response,
    responses={200: {"content": {"text/markdown": {}}}, **problems(404, 409)},
)
def card(service: ServiceOf, bundle_id: BundleId) -> Response:
    """Return the model card, as Markdown."""
    path = service.registry.open(bundle_id).folder / "MODEL_CARD.md"
    return Response(path.read_bytes(), media_type="text/markdown; charset=utf-8")


@router.post("/{bundle_id}/activate", dependencies=[needs(Role.OPERATE)], responses=problems(404, 409))
def activate(service: ServiceOf, bundle_id: BundleId) -> dict[str, Any]:
    """Serve with it from now on; what is under way ends with the model that it began with."""
    service.registry.activate(bundle_id, "activated by hand")
    return {"active": service.lanes.bundle.id}


@router.post("/rollback", dependencies=[needs(Role.OPERATE)], responses=problems(409))
def roll_back(service: ServiceOf) -> dict[str, Any]:
    """Serve again with the model that served before the present one."""
    return {"active": service.registry.roll_back()}


class Comparison(BaseModel):
    """Models to compare, and the number of the latest recordings."""

    model_config = ConfigDict(extra="forbid")

    first: BundleId
    second: BundleId
    n_recordings: int = Field(default=10, ge=1, le=MAX_COMPARED)


@router.post("/compare", dependencies=[needs(Role.TEACH)], responses=problems(404, 408, 409, 413, 503))
async def compare(
    service: ServiceOf, wanted: Comparison, min_score: Annotated[float, Query(ge=0, le=1)] = 0.25
) -> dict[str, Any]:
    """Compare the species that two models detect in the latest recordings."""
    async with unless_full(service.comparisons, "comparisons"):
        return await asyncio.to_thread(_compare, service, wanted, min_score)


def _compare(service: Service, wanted: Comparison, min_score: float) -> dict[str, Any]:
    first, second = (service.registry.open(name) for name in (wanted.first, wanted.second))
    _, rows = service.history.recordings(limit=wanted.n_recordings, offset=0)
    short = [recording for recording, _ in rows if (recording.duration_s or 0) <= MAX_COMPARED_S]
    paths = {service.files.local(recording.sha256): recording for recording in short}
    each = [_heard(service, bundle, list(paths), min_score) for bundle in (first, second)]
    found = []
    for k, recording in enumerate(paths.values()):
        one, other = each[0][k], each[1][k]
        same = sorted(set(one) & set(other))
        found.append(
            {
                "recording": recording.sha256,
                "name": recording.name,
                "first": one,
                "second": other,
                "only_first": sorted(set(one) - set(other)),
                "only_second": sorted(set(other) - set(one)),
                "both": same,
            }
        )
    return {"first": first.id, "second": second.id, "recordings": found}


def _heard(service: Service, bundle: Bundle, paths: list[Any], min_score: float) -> list[dict[str, float]]:
    """Return the species of each recording, with their best scores."""
    if not paths:
        return []
    store = service.registry.store
    run = identify(paths, Options(min_score=min_score), model=bundle.folder, store=store, workers=1)
    found = []
    for path in paths:
        table = run.table(path)
        best: dict[str, float] = {}
        for row in () if table is None else table.detections:
            best[row.common_name] = max(best.get(row.common_name, 0.0), round(row.score, 4))
        found.append(best)
    return found
