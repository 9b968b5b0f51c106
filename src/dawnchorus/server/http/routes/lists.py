"""API routes for the lists of stored recordings, detections, species and sites, and for deletion of recordings."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.parameters import RequestParameters
from dawnchorus.server.http.routes.replies import (
    MAX_PAGE,
    JsonRoute,
    Limit,
    Sha256,
    detection_fields,
    error_responses,
    listed_recording_fields,
)
from dawnchorus.server.listing import (
    DetectionQuery,
    Page,
    RecordingQuery,
    RecordingState,
    Reviewed,
    find_detections,
    find_recordings,
    find_species,
    list_sites,
)
from dawnchorus.server.settings import Role

MAX_SITES = 1000
"""Maximum number of sites in a response, and in the selection of sites on pages."""

MAX_TEXT = 200
"""Maximum length of a text in a filter."""

SPECIES = "Part of the scientific or common name of the species."

REVIEWED = "State of the review: true (reviewed), false (not reviewed), or the verdict ('none': no bird is audible)."

router = APIRouter(prefix="/api/v1", tags=["recordings"], route_class=JsonRoute)


class RecordingFilter(RequestParameters):
    """Filter of the lists of recordings and of detections, for the pages and the API; None means no condition.

    `name` and `species` (scientific or common name of a detected species) match substrings, ignoring case; `site`
    matches the exact name. `recorded_from` and `recorded_to` are inclusive, and leave out recordings without a start
    time.
    """

    name: str | None = Field(default=None, max_length=MAX_TEXT, description="Part of the recording's name.")
    species: str | None = Field(default=None, max_length=MAX_TEXT, description=SPECIES)
    site: str | None = Field(default=None, max_length=255, description="Site of the recording.")
    recorded_from: date | None = Field(
        default=None, description="First day of the recordings, by the recorder's clock."
    )
    recorded_to: date | None = Field(default=None, description="Last day of the recordings, by the recorder's clock.")
    cursor: str | None = Field(
        default=None,
        max_length=400,
        description="Position in the list: the field `next` or `previous` of a previous response.",
    )

    def query_fields(self) -> dict[str, Any]:
        """Return the values of the parameters that filter the list, by name, without `cursor` and `limit`.

        Parameters that were not given have their default, mostly None.
        """
        return {name: value for name, value in self if name not in ("cursor", "limit")}


class RecordingPageFilter(RecordingFilter):
    """Filter of the HTML page of recordings.

    `state` is "detections" or "no_detections" for identified recordings, or "failed" for those that could not be.
    """

    state: RecordingState | None = Field(default=None, description="State of the recording's identification.")

    def query(self) -> RecordingQuery:
        """Return the filter as the query for `server.listing.find_recordings`."""
        return RecordingQuery(**self.query_fields())


class DetectionPageFilter(RecordingFilter):
    """Filter of the HTML page of detections.

    `reviewed` is True for reviewed detections, False for others, or the verdict of the review: "correct", "incorrect",
    "relabeled", "several", "unsure" or "none".
    """

    min_score: float = Field(default=0.0, ge=0, le=1, description="Minimum score of the detections.")
    reviewed: Reviewed | None = Field(default=None, description=REVIEWED)

    def query(self) -> DetectionQuery:
        """Return the filter as the query for `server.listing.find_detections`."""
        return DetectionQuery(**self.query_fields())


class _ApiFilter(RecordingFilter):
    since: datetime | None = Field(default=None, description="Earliest time of the upload.")
    until: datetime | None = Field(default=None, description="End of the time range of the upload, exclusive.")
    limit: Limit = 50


class RecordingApiFilter(RecordingPageFilter, _ApiFilter):
    """Filter of the list of recordings in the API, with the fields of the page and `since`, `until` and `limit`.

    `since` (inclusive) and `until` (exclusive) are limits of the time of the upload, and `limit` is the maximum number
    of rows in a response.
    """


class DetectionApiFilter(DetectionPageFilter, _ApiFilter):
    """Filter of the list of detections in the API, with the fields of the page and `since`, `until` and `limit`.

    `since` (inclusive) and `until` (exclusive) are limits of the time of the upload, and `limit` is the maximum number
    of rows in a response.
    """

    recording: Annotated[Sha256 | None, Field(description="SHA-256 of the only recording to list.")] = None


@router.get("/recordings", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def recordings(service: ServiceDependency, query: Annotated[RecordingApiFilter, Query()]) -> dict[str, Any]:
    """Return a page of `recordings`, the latest upload first; some could not be identified (state `failed`).

    Each recording has the fields of `server.http.routes.replies.listed_recording_fields`. `total` is the length of the
    whole list, at most 10,000 (`is_total_exact` is false if it is longer); `next` and `previous` are cursors of the
    older and the newer page.
    """
    page = find_recordings(service.database, query.query(), limit=query.limit, cursor=query.cursor)
    return {**_page_fields(page), "recordings": [listed_recording_fields(each) for each in page.rows]}


@router.get("/detections", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def detections(service: ServiceDependency, query: Annotated[DetectionApiFilter, Query()]) -> dict[str, Any]:
    """Return a page of the `detections` in stored recordings, the latest upload first, by start within a recording.

    Each detection has the fields of `server.http.routes.replies.detection_fields`. `total` is the length of the whole
    list, at most 10,000 (`is_total_exact` is false if it is longer); `next` and `previous` are cursors of the older and
    the newer page.
    """
    page = find_detections(service.database, query.query(), limit=query.limit, cursor=query.cursor)
    return {**_page_fields(page), "detections": [detection_fields(each) for each in page.rows]}


def _page_fields(page: Page[Any]) -> dict[str, Any]:
    return {
        "total": page.total,
        "is_total_exact": page.is_total_exact,
        "next": page.next,
        "previous": page.previous,
    }


@router.get("/species", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def species(
    service: ServiceDependency,
    name: Annotated[str, Query(max_length=MAX_TEXT, description=SPECIES)] = "",
    limit: Limit = 20,
) -> dict[str, Any]:
    """Return the species that were detected in stored recordings and whose name contains `name`, sorted by common name.

    `limit` is the maximum number of species. Each element of `species` has `scientific_name` and `common_name`.
    """
    rows = find_species(service.database, name, limit=limit)
    return {"species": [{"scientific_name": row.scientific_name, "common_name": row.common_name} for row in rows]}


@router.get("/sites", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def sites(service: ServiceDependency) -> dict[str, Any]:
    """Return the names of the `sites` of stored recordings, at most 1,000, in alphabetical order."""
    return {"sites": list_sites(service.database, limit=MAX_SITES)}


class DeleteRequest(BaseModel):
    """Body of a request that deletes recordings, by their sha256."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"recordings": ["0" * 64]}]})

    recordings: Annotated[list[Sha256], Field(min_length=1, max_length=MAX_PAGE, description="Recordings to delete.")]


@router.post("/recordings/delete", dependencies=[require_role(Role.ADMIN)], responses=error_responses(408, 413))
async def delete_recordings(service: ServiceDependency, body: DeleteRequest) -> dict[str, Any]:
    """Delete recordings with their detections and reviews in one transaction.

    `deleted` has the sha256 of each deleted recording, `missing` the sha256 of each recording that does not exist.
    """
    deleted = await run_in_threadpool(service.detections.delete_all, body.recordings)
    for sha256 in deleted:
        service.renderer.discard(sha256)
    missing = sorted(set(body.recordings) - set(deleted))
    return {"deleted": deleted, "missing": missing}
