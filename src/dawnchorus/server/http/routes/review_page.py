"""HTML page for the review of one detection after the other, with forms that work without scripts."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool

from dawnchorus.errors import DawnChorusError, InputError, NotFoundError, UnknownClassError
from dawnchorus.server.http.auth import CSRF_FIELD, check_form, require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.error_handlers import http_status
from dawnchorus.server.http.forms import read_form
from dawnchorus.server.http.page_templates import redirect, render_page
from dawnchorus.server.http.parameters import PageQuery, RequestParameters, note, refuse_unknown
from dawnchorus.server.http.reviewers import Reviewer, remember_reviewer
from dawnchorus.server.http.routes.replies import clip_fields
from dawnchorus.server.http.routes.reviews import MAX_ANSWER
from dawnchorus.server.listing import (
    MAX_ID,
    DetectionQuery,
    DetectionRecord,
    Position,
    find_best,
    find_detection,
    find_detections,
)
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import Verdict

DELETED = "This detection was deleted while it was reviewed, so nothing was saved. Here is the next one."

PageName = Literal["review", "recording"]
"""Page that has the form, and to which the response redirects."""

router = APIRouter(include_in_schema=False)


class ReviewPageParameters(RequestParameters):
    """Parameters in the URL of the review page."""

    d: int | None = Field(default=None, ge=1, le=MAX_ID)
    """Id of the detection to show; None for the next unreviewed detection after the position `after`."""
    after: str | None = Field(default=None, max_length=60)
    """Position in the queue of unreviewed detections, a result of `Position.encode`; None for the queue's start."""


class _AnswerForm(RequestParameters):
    detection: int = Field(ge=1, le=MAX_ID)
    verdict: Verdict | Literal["skip"]
    species: str | None = Field(default=None, max_length=200)
    new_class: bool = False
    replaces: int | None = Field(default=None, ge=0, le=MAX_ANSWER)
    after: str | None = Field(default=None, max_length=60)
    page: PageName = "review"


class _UndoForm(RequestParameters):
    answer: int | None = Field(default=None, ge=1, le=MAX_ANSWER)
    page: PageName = "review"


_Form = TypeVar("_Form", bound=RequestParameters)


@router.get("/review", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def review(
    request: Request,
    service: ServiceDependency,
    reviewer: Reviewer,
    parameters: Annotated[ReviewPageParameters, Depends(PageQuery(ReviewPageParameters))],
) -> Response:
    """Show the page with a detection to review: by default the unreviewed detection with the highest score.

    A browser without a reviewer id (`reviewer` is None) gets one in a cookie, to be able to undo its answers.
    """
    if parameters.after is not None:
        try:
            Position.decode(parameters.after)
        except InputError as problem:
            note(request, problem.reason)
            parameters = parameters.model_copy(update={"after": None})
    return _show(request, service, reviewer, parameters)


@router.post("/review", dependencies=[require_role(Role.TRAIN, is_form=True)])
async def answer(request: Request, service: ServiceDependency, reviewer: Reviewer) -> Response:
    """Store the answer in the form, or skip the detection, and redirect to the next detection or the recording.

    If the answer cannot be stored, the page is shown again with the error and its status code.

    Raises:
        HTTPException: 403, the form does not have the session's CSRF token.
        InputError: a field of the form is unknown or repeated.
        RequestValidationError: a value in the form is not valid.
    """
    form = await _read(request, _AnswerForm)
    return await run_in_threadpool(_answer, request, service, reviewer, form)


@router.post("/review/undo", dependencies=[require_role(Role.TRAIN, is_form=True)])
async def undo(request: Request, service: ServiceDependency, reviewer: Reviewer) -> Response:
    """Undo an answer of this browser, by default the last one, and redirect to the answer's detection.

    If the answer cannot be undone, the page is shown with the error and its status code.

    Raises:
        HTTPException: 403, the form does not have the session's CSRF token.
        InputError: a field of the form is unknown or repeated.
        RequestValidationError: a value in the form is not valid.
    """
    form = await _read(request, _UndoForm)
    return await run_in_threadpool(_undo, request, service, reviewer, form)


async def _read(request: Request, model: type[_Form]) -> _Form:
    """Read a form and check its CSRF token.

    Raises:
        HTTPException: 403, the CSRF token is not valid.
        InputError: a field is unknown or repeated.
        RequestValidationError: a value is not valid.
    """
    fields = await read_form(request)
    check_form(request, fields.pop(CSRF_FIELD, ""))
    refuse_unknown(fields, model.model_fields, "field")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from error


def _answer(request: Request, service: Service, reviewer: str | None, form: _AnswerForm) -> Response:
    if form.verdict != "skip":
        try:
            service.reviews.answer(
                form.detection,
                form.verdict,
                form.species,
                service.pool.bundle.labels,
                new_class=form.new_class,
                reviewer=reviewer,
                replaces=form.replaces,
            )
        except NotFoundError:
            following = ReviewPageParameters(after=form.after)
            return _show(request, service, reviewer, following, error=DELETED, status=404)
        except DawnChorusError as error:
            same = ReviewPageParameters(d=form.detection, after=form.after)
            return _show(request, service, reviewer, same, failed=form, error=error.reason, cause=error)
    if form.page == "recording":
        return _redirect_to(request, service, form.page, form.detection)
    return redirect(request, "/review" if form.after is None else f"/review?after={form.after}")


def _undo(request: Request, service: Service, reviewer: str | None, form: _UndoForm) -> Response:
    try:
        undone = service.reviews.undo(reviewer, form.answer)
    except DawnChorusError as error:
        return _show(request, service, reviewer, ReviewPageParameters(), error=error.reason, cause=error)
    return _redirect_to(request, service, form.page, undone.record.detection.id)


def _redirect_to(request: Request, service: Service, page: PageName, detection: int) -> Response:
    record = find_detection(service.database, detection) if page == "recording" else None
    if record is None:
        return redirect(request, f"/review?d={detection}")
    return redirect(request, f"/recordings/{record.recording.sha256}?d={detection}")


def _show(
    request: Request,
    service: Service,
    reviewer: str | None,
    parameters: ReviewPageParameters,
    *,
    failed: _AnswerForm | None = None,
    error: str | None = None,
    cause: DawnChorusError | None = None,
    status: int = 200,
) -> Response:
    """Render the page with a detection; after an error, the form has the values of the answer that failed."""
    query = DetectionQuery(reviewed=False)
    record = None if parameters.d is None else find_detection(service.database, parameters.d)
    if parameters.d is not None and record is None:
        error = error or DELETED
    if record is None:
        record = _find_next(service, query, parameters.after)
    response = render_page(
        "review.html",
        request,
        status=status if cause is None else http_status(cause),
        error=error,
        record=record,
        clip=None if record is None else clip_fields(record),
        unreviewed=find_detections(service.database, query, limit=1),
        undoable=service.reviews.last_answer(reviewer),
        given_species=None if failed is None else failed.species,
        asks_new_class=isinstance(cause, UnknownClassError),
    )
    return remember_reviewer(request, response, reviewer)


def _find_next(service: Service, query: DetectionQuery, after: str | None) -> DetectionRecord | None:
    position = None if after is None else Position.decode(after)
    return next(iter(find_best(service.database, query, limit=1, after=position)), None)
