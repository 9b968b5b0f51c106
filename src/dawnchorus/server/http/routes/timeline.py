"""Detections of a stored recording by time, for viewers of recordings of any length."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from dawnchorus.errors import InputError
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.routes.replies import JsonRoute, Sha256, detection_fields, error_responses
from dawnchorus.server.settings import Role
from dawnchorus.server.timeline import Order, SpeciesActivity, TimelineQuery

MAX_S = 1e7
"""Longest time in a recording that a query may name."""

StartS = Annotated[float, Query(ge=0, le=MAX_S, description="Start of the range in seconds.")]
EndS = Annotated[float, Query(gt=0, le=MAX_S, description="End of the range in seconds.")]
Species = Annotated[str | None, Query(max_length=200, description="Substring of either name.")]
MinScore = Annotated[float, Query(ge=0, le=1)]
Cursor = Annotated[int | None, Query(ge=1, le=2**63 - 1)]

router = APIRouter(prefix="/api/v1", tags=["recordings"], route_class=JsonRoute)


@router.get("/recordings/{sha256}/timeline", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404))
def timeline(
    service: ServiceDependency,
    sha256: Sha256,
    start_s: StartS = 0.0,
    end_s: EndS = MAX_S,
    species: Species = None,
    min_score: MinScore = 0.0,
    reviewed: bool | None = None,  # noqa: FBT001 - a query's
    order: Order = "start",
    after: Annotated[Cursor, Query(description="Id of the detection that the page follows.")] = None,
    before: Annotated[Cursor, Query(description="Id of the detection that the page precedes.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 500,
) -> dict[str, Any]:
    """Return a page of the detections that overlap a range of a recording, in the order of time or of score."""
    if after is not None and before is not None:
        raise InputError("expected after or before, got both.")
    query = TimelineQuery(sha256, start_s, end_s, species, min_score, reviewed)
    records = service.timeline.list_detections(query, limit=limit + 1, after=after, before=before, order=order)
    page = records[-limit:] if before is not None else records[:limit]
    return {"detections": [detection_fields(each) for each in page], "has_more": len(records) > limit}


@router.get("/recordings/{sha256}/activity", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404))
def activity(
    service: ServiceDependency,
    sha256: Sha256,
    start_s: StartS = 0.0,
    end_s: Annotated[EndS | None, Query(description="End of the range; the end of the recording, if absent.")] = None,
    species: Species = None,
    min_score: MinScore = 0.0,
    reviewed: bool | None = None,  # noqa: FBT001 - a query's
    columns: Annotated[int, Query(ge=1, le=2000, description="Number of columns of equal length.")] = 600,
) -> dict[str, Any]:
    """Count the detections in a range by column: of the ten most frequent species, then of all others.

    A detection is counted in each column from its start to its end.
    """
    row = service.detections.get_recording(sha256)
    end_s = end_s or row.duration_s or 0.0
    if end_s <= start_s:
        raise InputError(f"expected a range that ends after {start_s:g} s, got one to {end_s:g} s.")
    query = TimelineQuery(sha256, start_s, end_s, species, min_score, reviewed)
    counts = service.timeline.count_by_column(query, n_columns=columns)
    return {
        "start_s": start_s,
        "end_s": end_s,
        "columns": columns,
        "n_detections": sum(each.n_detections for each in counts),
        "species": [_activity_fields(each) for each in counts],
    }


def _activity_fields(activity: SpeciesActivity) -> dict[str, Any]:
    """Return the fields of an activity; each of its columns is [number of the column, detections, best score]."""
    return {
        "scientific_name": activity.scientific_name,
        "common_name": activity.common_name,
        "n_detections": activity.n_detections,
        "columns": [[column, n, round(score, 4)] for column, (n, score) in sorted(activity.columns.items())],
    }
