"""API routes for the detections of a stored recording by time, for the viewer in the browser."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from dawnchorus.errors import InputError
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.parameters import RequestParameters
from dawnchorus.server.http.routes.lists import MAX_TEXT, REVIEWED, SPECIES
from dawnchorus.server.http.routes.replies import JsonRoute, Sha256, detection_fields, error_responses
from dawnchorus.server.listing import Reviewed
from dawnchorus.server.settings import Role
from dawnchorus.server.timeline import Order, SpeciesActivity, TimelineQuery

MAX_S = 1e7
"""Maximum time in seconds in a query."""

MAX_DETECTION = 2**63 - 1

router = APIRouter(prefix="/api/v1", tags=["recordings"], route_class=JsonRoute)


class _RangeFilter(RequestParameters):
    """Filter of the detections of a recording by time, species, score and review."""

    start_s: float = Field(default=0.0, ge=0, le=MAX_S, description="Start of the range in seconds.")
    species: str | None = Field(default=None, max_length=MAX_TEXT, description=SPECIES)
    min_score: float = Field(default=0.0, ge=0, le=1, description="Minimum score of the detections.")
    reviewed: Reviewed | None = Field(default=None, description=REVIEWED)

    def query(self, sha256: str, *, end_s: float) -> TimelineQuery:
        """Return the filter as a query of the database, for the recording `sha256` up to the time `end_s`."""
        return TimelineQuery(sha256, self.start_s, end_s, self.species, self.min_score, self.reviewed)


class TimelineFilter(_RangeFilter):
    """Parameters of a page of detections: filter, order and position of the page.

    The filter also has `start_s` (start of the range in seconds), `species` (substring of a name), `min_score` and
    `reviewed` (true, false or a verdict).
    """

    end_s: float = Field(default=MAX_S, gt=0, le=MAX_S, description="End of the range in seconds.")
    order: Order = Field(
        default="start", description="Order of the detections: by time (start), or by falling score (score)."
    )
    after: int | None = Field(
        default=None, ge=1, le=MAX_DETECTION, description="Id of the last detection of the previous page."
    )
    before: int | None = Field(
        default=None, ge=1, le=MAX_DETECTION, description="Id of the first detection of the next page."
    )
    limit: int = Field(default=500, ge=1, le=500, description="Maximum number of detections in the response.")


class ActivityFilter(_RangeFilter):
    """Parameters for counts of detections by column: filter, range of time and number of columns.

    The filter also has `start_s` (start of the range in seconds), `species` (substring of a name), `min_score` and
    `reviewed` (true, false or a verdict).
    """

    end_s: float | None = Field(
        default=None, gt=0, le=MAX_S, description="End of the range in seconds. Default: the end of the recording."
    )
    columns: int = Field(default=600, ge=1, le=2000, description="Number of columns, intervals of equal length.")


@router.get("/recordings/{sha256}/timeline", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404))
def timeline(service: ServiceDependency, sha256: Sha256, query: Annotated[TimelineFilter, Query()]) -> dict[str, Any]:
    """Return a page of the `detections` that overlap a range of time in a recording, by time or by falling score.

    A detection has the fields of `server.http.routes.replies.detection_fields`. `has_more` is true if further
    detections follow the page (with `before`: precede it). 400 if both `after` and `before` are given, 404 if there is
    no such recording or no such detection in it.
    """
    after, before, limit = query.after, query.before, query.limit
    if after is not None and before is not None:
        raise InputError("expected after or before, got both.")
    records = service.timeline.list_detections(
        query.query(sha256, end_s=query.end_s), limit=limit + 1, after=after, before=before, order=query.order
    )
    page = records[-limit:] if before is not None else records[:limit]
    return {"detections": [detection_fields(each) for each in page], "has_more": len(records) > limit}


@router.get("/recordings/{sha256}/activity", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses(404))
def activity(service: ServiceDependency, sha256: Sha256, query: Annotated[ActivityFilter, Query()]) -> dict[str, Any]:
    """Count the detections in a range of time, which is divided into columns of equal length.

    The ten most frequent species are counted separately, and all other species together, with null for both names. A
    detection is counted in each column that it overlaps. Detections with the verdicts "incorrect" and "none" are only
    counted if `reviewed` is this verdict. Each element of `species` has `scientific_name`, `common_name`,
    `n_detections`, and its `columns` that are not empty, each as [index from 0, number of detections, highest score].
    The response also has the number of all `columns`, the number `n_detections` of counted detections, and the limits
    `start_s` and `end_s` of the range. 400 if the range is empty, 404 if there is no such recording.
    """
    row = service.detections.get_recording(sha256)
    end_s = query.end_s or row.duration_s or 0.0
    if end_s <= query.start_s:
        raise InputError(f"expected a range that ends after {query.start_s:g} s, got one to {end_s:g} s.")
    counts = service.timeline.count_by_column(query.query(sha256, end_s=end_s), n_columns=query.columns)
    return {
        "start_s": query.start_s,
        "end_s": end_s,
        "columns": query.columns,
        "n_detections": sum(each.n_detections for each in counts),
        "species": [_activity_fields(each) for each in counts],
    }


def _activity_fields(activity: SpeciesActivity) -> dict[str, Any]:
    """Return the JSON fields of a species' counts; a column is [index, number of detections, highest score]."""
    return {
        "scientific_name": activity.scientific_name,
        "common_name": activity.common_name,
        "n_detections": activity.n_detections,
        "columns": [[column, n, round(score, 4)] for column, (n, score) in sorted(activity.columns.items())],
    }
