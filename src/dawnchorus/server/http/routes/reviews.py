"""API routes for reviews of detections: the queue of unreviewed detections, answers, and undo."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.parameters import RequestParameters
from dawnchorus.server.http.reviewers import Reviewer
from dawnchorus.server.http.routes.replies import (
    DetectionId,
    JsonRoute,
    Limit,
    Sha256,
    answer_fields,
    clip_fields,
    error_responses,
    review_fields,
)
from dawnchorus.server.listing import DetectionQuery, Position, find_best
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import Verdict

REPLACES = "Id of the answer that the client saw as the review, 0 for none; 409 if another reviewer changed it since."

OWNER = "SHA-256 of the recording to which the detection should belong; if it does not: 404."

MAX_ANSWER = 2**31 - 1

Replaces = Annotated[int, Field(ge=0, le=MAX_ANSWER)]

router = APIRouter(prefix="/api/v1", tags=["reviews"], route_class=JsonRoute)


class QueueParameters(RequestParameters):
    """Parameters of a page of the queue of unreviewed detections; `limit` is the maximum number of detections in it."""

    after: str | None = Field(
        default=None,
        max_length=60,
        description="Field `position` of the previous detection in the review queue. Default: the start of the queue.",
    )
    limit: Limit = 10


@router.get("/reviews/queue", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def queue(service: ServiceDependency, query: Annotated[QueueParameters, Query()]) -> dict[str, Any]:
    """Return a page of the unreviewed `detections`, the highest scores first, each with its `position`.

    The other fields are those of `server.http.routes.replies.clip_fields`.
    """
    after = None if query.after is None else Position.decode(query.after)
    records = find_best(service.database, DetectionQuery(reviewed=False), limit=query.limit, after=after)
    return {"detections": [clip_fields(each) for each in records]}


class ReviewRequest(BaseModel):
    """Body of a request that reviews a detection."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"verdict": "relabeled", "species": "Parus major_Great Tit"}]},
    )

    verdict: Verdict
    """Verdict on the detection: correct (the species is audible), incorrect (it is not), relabeled (another species,
    named in `species`), several (several species), unsure (not decidable) or none (no bird). Clips with the verdicts
    several and unsure are not used as training data."""
    species: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Scientific or common name of the correct species, or both (Parus major_Great Tit); for "relabeled" only."""
    new_class: bool = False
    """True to add `species` as a new class if it is no known class; false to refuse an unknown species (400)."""
    replaces: Replaces | None = None
    """Id of the answer that the client saw as the review, 0 for none; 409 if another reviewer changed the review since.
    Default: replace any review."""
    recording: Sha256 | None = None
    """SHA-256 of the recording to which the detection should belong; if it does not: 404. Default: any recording."""


@router.put(
    "/detections/{number}/review",
    dependencies=[require_role(Role.TRAIN)],
    responses=error_responses(404, 408, 409, 413),
)
def review(service: ServiceDependency, number: DetectionId, body: ReviewRequest, reviewer: Reviewer) -> dict[str, Any]:
    """Set the review of a detection; the same answer again changes nothing.

    The detection's clip becomes training data, unless the verdict is "several" or "unsure". The response has the
    columns of the table `Review`. 400 if `species` is no known class and `new_class` is false, 404 if there is no such
    detection (in the recording `recording`, if given), 409 if another reviewer has changed the review since the client
    read it (`replaces`).
    """
    if body.recording is not None:
        service.timeline.get(body.recording, number)
    row = service.reviews.answer(
        number,
        body.verdict,
        body.species,
        service.pool.bundle.labels,
        new_class=body.new_class,
        reviewer=reviewer,
        replaces=body.replaces,
    )
    return review_fields(row) or {}


@router.delete(
    "/detections/{number}/review",
    dependencies=[require_role(Role.TRAIN)],
    status_code=204,
    responses=error_responses(404, 409),
)
def delete_review(
    service: ServiceDependency,
    number: DetectionId,
    reviewer: Reviewer,
    replaces: Annotated[Replaces | None, Query(description=REPLACES)] = None,
    recording: Annotated[Sha256 | None, Query(description=OWNER)] = None,
) -> Response:
    """Delete the review of a detection; nothing changes if the detection has no review.

    404 if there is no such detection (in the recording `recording`, if given), 409 if another reviewer has changed the
    review since the client read it (`replaces`).
    """
    if recording is not None:
        service.timeline.get(recording, number)
    service.reviews.delete(number, reviewer=reviewer, replaces=replaces)
    return Response(status_code=204)


class UndoRequest(BaseModel):
    """Body of a request that undoes an answer."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [{"answer": 81}]}
    )

    answer: Annotated[int, Field(ge=1, le=MAX_ANSWER)] | None = None
    """Id of the answer (`answer` of a review). Default: the last answer of this browser that can be undone."""


@router.post("/reviews/undo", dependencies=[require_role(Role.TRAIN)], responses=error_responses(404, 408, 409, 413))
def undo(service: ServiceDependency, body: UndoRequest, reviewer: Reviewer) -> dict[str, Any]:
    """Undo an answer of this browser; the answer before it becomes the review of the detection again.

    Without an answer before it, the detection is unreviewed again. The cookie `dawnchorus_reviewer`, which the page
    Review sets, identifies the browser. The response has the undone `answer` (fields of `replies.answer_fields`), its
    `detection` after the undo (`replies.clip_fields`), and as `undoable` the id of the answer that can be undone next,
    or null. 404 if this browser has no such answer, 409 if a later answer to the detection exists.
    """
    undone = service.reviews.undo(reviewer, body.answer)
    return {
        "answer": answer_fields(undone.answer),
        "detection": clip_fields(undone.record),
        "undoable": service.reviews.last_answer(reviewer),
    }
