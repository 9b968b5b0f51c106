"""Reviews of detections: the queue of those without one, answers, and undo."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.parameters import RequestParameters
from dawnchorus.server.http.reviewers import Reviewer
from dawnchorus.server.http.routes.replies import (
    JsonRoute,
    Limit,
    Number,
    Sha256,
    answer_fields,
    clip_fields,
    error_responses,
    review_fields,
)
from dawnchorus.server.listing import DetectionQuery, Position, find_best
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import Verdict

VERDICTS = (
    "correct: the species is there; incorrect: it is not; relabeled: it is another one, named in `species`; several: "
    "there are several species; unsure: it cannot be told; none: there is no bird. Clips that are unsure or of several "
    "species become no training data."
)

REPLACES = "Id of the answer that the person saw (`answer` of a review), 0 for none; 409 if somebody else gave another."

MAX_ANSWER = 2**31 - 1

Replaces = Annotated[int, Field(ge=0, le=MAX_ANSWER, description=REPLACES)]

router = APIRouter(prefix="/api/v1", tags=["reviews"], route_class=JsonRoute)


class QueueParameters(RequestParameters):
    """Part of the queue."""

    after: str | None = Field(default=None, max_length=60, description="`position` of the detection before.")
    limit: Limit = 10


@router.get("/reviews/queue", dependencies=[require_role(Role.IDENTIFY)], responses=error_responses())
def queue(service: ServiceDependency, query: Annotated[QueueParameters, Query()]) -> dict[str, Any]:
    """Return unreviewed detections, the highest scores first."""
    after = None if query.after is None else Position.decode(query.after)
    records = find_best(service.database, DetectionQuery(reviewed=False), limit=query.limit, after=after)
    return {"detections": [clip_fields(each) for each in records]}


class ReviewRequest(BaseModel):
    """A person's review of a detection."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"verdict": "relabeled", "species": "Parus major_Great Tit"}]}
    )

    verdict: Annotated[Verdict, Field(description=VERDICTS)]
    species: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The correct species, if the verdict is "relabeled"."""
    new_class: bool = False
    """True to add a new class, if no class has the name in `species`."""
    replaces: Replaces | None = None
    recording: Sha256 | None = None
    """Recording that the detection is expected to be of; 404 if it is not."""


@router.put(
    "/detections/{number}/review",
    dependencies=[require_role(Role.TRAIN)],
    responses=error_responses(404, 408, 409, 413),
)
def review(service: ServiceDependency, number: Number, body: ReviewRequest, reviewer: Reviewer) -> dict[str, Any]:
    """Review a detection; its clip becomes training data. The same answer again changes nothing."""
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
    number: Number,
    reviewer: Reviewer,
    replaces: Annotated[Replaces | None, Query()] = None,
    recording: Annotated[Sha256 | None, Query()] = None,
) -> Response:
    """Delete the review of a detection; nothing changes if it has none."""
    if recording is not None:
        service.timeline.get(recording, number)
    service.reviews.delete(number, reviewer=reviewer, replaces=replaces)
    return Response(status_code=204)


class UndoRequest(BaseModel):
    """An answer to take back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"answer": 81}]})

    answer: Annotated[int, Field(ge=1, le=MAX_ANSWER)] | None = None
    """Id of the answer (`answer` of a review); by default the last one."""


@router.post("/reviews/undo", dependencies=[require_role(Role.TRAIN)], responses=error_responses(404, 408, 409, 413))
def undo(service: ServiceDependency, body: UndoRequest, reviewer: Reviewer) -> dict[str, Any]:
    """Take back an answer of this browser, which the cookie `dawnchorus_reviewer` of the page Review tells.

    The answer before it counts again. `undoable` is the id of the answer that can be taken back next.
    """
    undone = service.reviews.undo(reviewer, body.answer)
    return {
        "answer": answer_fields(undone.answer),
        "detection": clip_fields(undone.record),
        "undoable": service.reviews.last_answer(reviewer),
    }
