"""HTML pages of a recording, a job, training data, models, the system, login and documentation."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from dawnchorus.errors import NotFoundError
from dawnchorus.server.http.auth import COOKIE, CSRF_FIELD, check_form, own_path, require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.error_pages import describe_error
from dawnchorus.server.http.forms import read_form
from dawnchorus.server.http.page_templates import NEXT, is_own_page, redirect, redirect_to_login, render_page
from dawnchorus.server.http.parameters import PageQuery, note
from dawnchorus.server.http.recording_page import RecordingPageParameters, drop_missing, read_recording_page
from dawnchorus.server.http.reviewers import COOKIE as REVIEWER_COOKIE
from dawnchorus.server.http.reviewers import Reviewer, remember_reviewer
from dawnchorus.server.http.routes.replies import Sha256
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import CatalogModel, Job

ENOUGH = 10
"""Number of recordings of a species below which the training page recommends more."""

router = APIRouter(include_in_schema=False)


async def error_page(request: Request, problem: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    """Return the HTML page of an error, with the error's status code.

    For 401 of a request without a token, return a redirection to the login page.

    Args:
        request: the request.
        problem: fields of the error's problem details (RFC 9457), as in `replies.ProblemDetails`.
        headers: headers for the response, by name in lower case.
    """
    status = problem["status"]
    if status == HTTPStatus.UNAUTHORIZED and "authorization" not in request.headers:
        return redirect_to_login(request)
    return await asyncio.to_thread(
        render_page,
        "error.html",
        request,
        status=status,
        headers=headers,
        text=describe_error(status, own_path(request)),
        problem=problem,
        retry_after_s=headers.get("retry-after"),
        is_servers_fault=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
    )


@router.get("/recordings/{sha256}", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def recording(
    request: Request,
    service: ServiceDependency,
    sha256: Sha256,
    parameters: Annotated[RecordingPageParameters, Depends(PageQuery(RecordingPageParameters))],
    reviewer: Reviewer,
) -> Response:
    """Show the page of a stored recording with its spectrogram, audio and detections.

    A browser without a reviewer id (`reviewer` is None) gets one in a cookie, to be able to undo its answers.

    Raises:
        NotFoundError: there is no such recording, or it could not be identified.
    """
    row = service.detections.get_recording(sha256)
    if row.error is not None:
        raise NotFoundError(f"{row.name}: {row.error} It was not stored.")
    parameters, problems = drop_missing(service, sha256, parameters)
    for problem in problems:
        note(request, problem)
    values = read_recording_page(service, row, parameters)
    undoable = service.reviews.last_answer(reviewer)
    response = render_page("recording.html", request, undoable=undoable, **values)
    return remember_reviewer(request, response, reviewer)


@router.get("/jobs/{job_id}", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def job(request: Request, service: ServiceDependency, job_id: str) -> Response:
    """Show the page with the progress of a job.

    Raises:
        NotFoundError: there is no job with this id.
    """
    row = service.jobs.get(job_id)
    then = f"/recordings/{row.parameters['sha256']}" if row.kind == "identify" else "/training"
    return render_page(
        "job.html",
        request,
        job=row,
        then=then,
        can_restart=service.can_restart(row),
        has_results=_has_results(service, row),
    )


def _has_results(service: Service, job: Job) -> bool:
    """Return True if the recording of a job was identified before."""
    if job.kind != "identify":
        return False
    try:
        return service.detections.get_recording(job.parameters["sha256"]).error is None
    except NotFoundError:
        return False


# ---------------------------------------------------------------------- training


@router.get("/training", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def training(request: Request, service: ServiceDependency) -> Response:
    """Show the page with the amount of training data by species, and the latest retraining."""
    counts = service.training_data.count_by_species()
    _, rows = service.jobs.find(kind="retrain", limit=1)
    job = rows[0] if rows else None
    return render_page(
        "training.html",
        request,
        counts=counts,
        most=max((row.n_recordings for row in counts), default=1),
        enough=ENOUGH,
        thin=[row.common_name for row in counts if row.scientific_name and row.n_recordings < ENOUGH][:8],
        job=job,
        result=job.result if job is not None else None,
        previous=_find_previous_model(service),
    )


@router.get("/teach", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def redirect_teach(request: Request) -> Response:
    """Redirect from the former URL of the training page."""
    return redirect(request, "/training")


# ---------------------------------------------------------------------- models, system


@router.get("/models", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def models(request: Request, service: ServiceDependency) -> Response:
    """Show the page with the models and the history of activations."""
    return render_page(
        "models.html",
        request,
        models=service.catalog.list_models(),
        activations=service.catalog.list_activations(),
        previous=_find_previous_model(service),
    )


def _find_previous_model(service: Service) -> CatalogModel | None:
    """Return the model that was active before the active one; None if there was none."""
    previous = service.catalog.previous_id()
    return None if previous is None else service.catalog.get(previous)


@router.get("/system", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def system(request: Request, service: ServiceDependency) -> Response:
    """Show the page with totals of all identifications, the state of the server, and the latest jobs."""
    totals = service.detections.totals()
    _, jobs = service.jobs.find(limit=10)
    return render_page(
        "system.html",
        request,
        totals=totals,
        uptime=_format_duration(service.uptime_s),
        waiting=service.pool.n_waiting,
        n_inference_threads=service.pool.n_inference_threads,
        free_bytes=shutil.disk_usage(service.settings.data).free,
        jobs=jobs,
    )


def _format_duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    return (
        f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    )


# ---------------------------------------------------------------------- log in, documentation


@router.get("/login", dependencies=[require_role(Role.PUBLIC, is_page=True)])
def login(request: Request, next_page: Annotated[str, Query(alias=NEXT, max_length=2_000)] = "") -> Response:
    """Show the login page; `next` is the page of this server that is shown afterwards."""
    return render_page("login.html", request, next=next_page if is_own_page(next_page) else "")


@router.post("/login", dependencies=[require_role(Role.PUBLIC, is_form=True)])
async def log_in(request: Request) -> Response:
    """Log in with the access token in the form's field `token`, and redirect to the page in the field `next`.

    The session cookie is set. Without `next`, or with an address of another server, the start page is next. After a
    wrong token, the login page is shown again, with the status 401.
    """
    fields = await read_form(request)
    cookie = request.app.state.authorizer.log_in(request, fields.get("token", "").strip())
    next_page = fields.get(NEXT, "") if is_own_page(fields.get(NEXT, "")) else ""
    if cookie is None:
        return render_page("login.html", request, error="Unknown token.", status=401, next=next_page)
    reply = redirect(request, next_page or "/")
    is_secure = request.url.scheme == "https"
    max_age_s = request.app.state.service.settings.limits.session_max_age_s
    reply.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=is_secure, max_age=max_age_s)
    return reply


@router.post("/logout", dependencies=[require_role(Role.PUBLIC, is_form=True)])
async def log_out(request: Request) -> Response:
    """End the session, delete the session cookie and the reviewer cookie, and redirect to the login page.

    Raises:
        HTTPException: 403, the form does not have the session's CSRF token.
    """
    fields = await read_form(request)
    check_form(request, fields.get(CSRF_FIELD, ""))
    await request.app.state.authorizer.log_out(request)
    reply = redirect(request, "/login")
    reply.delete_cookie(COOKIE)
    reply.delete_cookie(REVIEWER_COOKIE)  # who comes next is another person
    return reply


@router.get("/api/openapi.json", dependencies=[require_role(Role.IDENTIFY)])
def openapi(request: Request) -> Response:
    """Return the OpenAPI description of the API as JSON."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def docs(request: Request) -> Response:
    """Show the OpenAPI description of the API as an HTML page."""
    groups: dict[str, list[tuple[str, str, Any]]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    origin = f"{request.url.scheme}://{request.url.netloc}"
    return render_page("docs.html", request, groups=list(groups.items()), origin=origin)
