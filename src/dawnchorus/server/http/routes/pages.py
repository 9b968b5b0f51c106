"""HTML pages: identify, history, review, training, models, system."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dawnchorus.errors import DawnChorusError, InputError
from dawnchorus.identification.options import DEFAULT_MIN_SCORE, Options
from dawnchorus.server.history import DetectionQuery
from dawnchorus.server.http.auth import COOKIE, CSRF_FIELD, check_form, own_path, require_role
from dawnchorus.server.http.dependencies import ServiceDependency, receive_recording
from dawnchorus.server.http.error_handlers import error_message, http_status
from dawnchorus.server.http.parameters import refuse_repeated, refuse_unknown
from dawnchorus.server.http.recording_page import RecordingPageParameters, read_recording_page
from dawnchorus.server.http.routes.identify import enqueue, is_long
from dawnchorus.server.http.routes.replies import Sha256
from dawnchorus.server.http.uploads import read_body
from dawnchorus.server.settings import Role
from dawnchorus.server.state.sessions import MAX_AGE_S

N_TILES, N_QUEUE, N_ROWS = 8, 24, 50
MAX_FORM_BYTES = 4096

ENOUGH = 10
"""Recordings of a species below which the page recommends more."""

_PAGES = Environment(
    loader=PackageLoader("dawnchorus.server.http", "templates"), autoescape=True, undefined=StrictUndefined
)

router = APIRouter(include_in_schema=False)


def _page(template: str, request: Request, *, status: int = 200, **values: object) -> Response:
    service = request.app.state.service
    base = request.scope.get("root_path", "").rstrip("/")
    common = {
        "error": None,
        "base": base,
        "here": own_path(request),
        "csrf": request.state.csrf,
        "bundle": service.pool.bundle,
        "min_score": DEFAULT_MIN_SCORE,
    }
    content = _PAGES.get_template(template).render({**common, **values})
    return HTMLResponse(content, status, headers={"Cache-Control": "no-store"})


async def error_page(request: Request, status: int, detail: str) -> Response:
    """Render an error page."""
    return await asyncio.to_thread(
        _page, "error.html", request, status=status, error=detail, phrase=HTTPStatus(status).phrase
    )


def _redirect(request: Request, path: str) -> Response:
    return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + path, 303)


# ---------------------------------------------------------------------- identify


@router.get("/", dependencies=[require_role(Role.IDENTIFY)])
def home(request: Request, service: ServiceDependency) -> Response:
    """Show the page for uploads."""
    return _home(request, service)


def _home(request: Request, service: ServiceDependency, **values: Any) -> Response:
    _, rows = service.detections.list_recordings(limit=N_TILES, offset=0)
    return _page("home.html", request, recordings=rows, **values)


@router.post("/", dependencies=[require_role(Role.IDENTIFY, is_form=True)])
async def upload(request: Request, service: ServiceDependency) -> Response:
    """Identify and store an upload, and redirect to its page; redirect to the job of a long one."""
    options = Options(min_score=DEFAULT_MIN_SCORE, merge=True)
    try:
        async with receive_recording(service, request) as (path, name):
            check_form(request, request.state.texts.get(CSRF_FIELD, ""))
            refuse_unknown(request.state.texts, (CSRF_FIELD,), "field")
            if await is_long(service, path):
                job = await asyncio.to_thread(enqueue, service, path, name, options)
                return _redirect(request, f"/jobs/{job.id}")
            result = await service.identify(path, options, name)
            sha256 = await asyncio.to_thread(service.detections.store, result, path, name=name, options=options)
    except DawnChorusError as error:
        return await asyncio.to_thread(
            _home, request, service, error=error_message(request, error), status=http_status(error)
        )
    return _redirect(request, f"/recordings/{sha256}")


@router.get("/recordings/{sha256}", dependencies=[require_role(Role.IDENTIFY)])
def recording(
    request: Request,
    service: ServiceDependency,
    sha256: Sha256,
    parameters: Annotated[RecordingPageParameters, Query()],
) -> Response:
    """Show a recording with its spectrogram, audio and detections."""
    row = service.detections.get_recording(sha256)
    return _page("recording.html", request, **read_recording_page(service, row, parameters))


@router.get("/jobs/{job_id}", dependencies=[require_role(Role.IDENTIFY)])
def job(request: Request, service: ServiceDependency, job_id: str) -> Response:
    """Show the progress of a job."""
    row = service.jobs.get(job_id)
    then = f"/recordings/{row.parameters['sha256']}" if row.kind == "identify" else "/training"
    return _page("job.html", request, job=row, then=then)


# ---------------------------------------------------------------------- history, review


@router.get("/history", dependencies=[require_role(Role.IDENTIFY)])
def history(
    request: Request,
    service: ServiceDependency,
    species: Annotated[str, Query(max_length=200)] = "",
    min_score: Annotated[str, Query(max_length=20)] = "",
    since: Annotated[str, Query(max_length=40)] = "",
    reviewed: Annotated[str, Query(max_length=8)] = "",
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """Show the history of detections, the latest first."""
    query = DetectionQuery(
        species=species or None,
        min_score=_parse_score(min_score),
        reviewed={"true": True, "false": False}.get(reviewed),
        since=_parse_day(since),
    )
    total, rows = service.detections.find(query, limit=N_ROWS, offset=offset)
    n_recordings, _ = service.detections.list_recordings(limit=1, offset=0)
    given = [(name, value) for name, value in parse_qsl(request.url.query) if name != "offset"]
    return _page(
        "history.html",
        request,
        query=query,
        since=since,
        records=rows,
        total=total,
        total_recordings=n_recordings,
        offset=offset,
        before=urlencode([*given, ("offset", max(offset - N_ROWS, 0))]) if offset else None,
        after=urlencode([*given, ("offset", offset + N_ROWS)]) if offset + N_ROWS < total else None,
    )


def _parse_score(text: str) -> float:
    try:
        score = float(text or 0)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise InputError(f"score: expected a number from 0 to 1, got {text!r}.")
    return score


def _parse_day(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        raise InputError(f"since: expected a day such as 2026-05-01, got {text[:40]!r}.") from None


@router.get("/review", dependencies=[require_role(Role.IDENTIFY)])
def review(request: Request, service: ServiceDependency) -> Response:
    """Show unreviewed detections, the highest scores first."""
    total, rows = service.detections.find(DetectionQuery(reviewed=False), limit=N_QUEUE, by_score=True)
    return _page("review.html", request, total=total, records=rows)


# ---------------------------------------------------------------------- training


@router.get("/training", dependencies=[require_role(Role.IDENTIFY)])
def training(request: Request, service: ServiceDependency) -> Response:
    """Show the training data and the progress of a retraining."""
    counts = service.training_data.count_by_species()
    _, rows = service.jobs.find(kind="retrain", limit=1)
    job = rows[0] if rows else None
    return _page(
        "training.html",
        request,
        counts=counts,
        most=max((row.n_recordings for row in counts), default=1),
        enough=ENOUGH,
        thin=[row.common_name for row in counts if row.scientific_name and row.n_recordings < ENOUGH][:8],
        job=job,
        result=job.result if job is not None else None,
        can_roll_back=service.catalog.previous_id() is not None,
    )


# ---------------------------------------------------------------------- models, system


@router.get("/models", dependencies=[require_role(Role.IDENTIFY)])
def models(request: Request, service: ServiceDependency) -> Response:
    """Show the models, and the active one."""
    return _page(
        "models.html",
        request,
        models=service.catalog.list_models(),
        activations=service.catalog.list_activations(),
        can_roll_back=service.catalog.previous_id() is not None,
    )


@router.get("/system", dependencies=[require_role(Role.IDENTIFY)])
def system(request: Request, service: ServiceDependency) -> Response:
    """Show totals of all detections and the state of the server."""
    totals = service.detections.totals()
    _, jobs = service.jobs.find(limit=10)
    return _page(
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


@router.get("/login", dependencies=[require_role(Role.PUBLIC)])
def login(request: Request) -> Response:
    """Show the login page."""
    return _page("login.html", request)


async def _form(request: Request) -> dict[str, str]:
    """Read a small form.

    Raises:
        InputError: a field comes twice.
    """
    body = await read_body(request, max_bytes=MAX_FORM_BYTES)
    fields = parse_qsl(body.decode("utf-8", "replace"))
    refuse_repeated([(name, "not shown") for name, _ in fields], "field")  # a token is no text for messages
    return dict(fields)


@router.post("/login", dependencies=[require_role(Role.PUBLIC, is_form=True)])
async def log_in(request: Request) -> Response:
    """Log in with a token."""
    fields = await _form(request)
    cookie = request.app.state.authorizer.log_in(request, fields.get("token", ""))
    if cookie is None:
        return _page("login.html", request, error="The token is not valid.", status=401)
    reply = _redirect(request, "/")
    is_secure = request.url.scheme == "https"
    reply.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=is_secure, max_age=MAX_AGE_S)
    return reply


@router.post("/logout", dependencies=[require_role(Role.PUBLIC, is_form=True)])
async def log_out(request: Request) -> Response:
    """Log out: the session ends on the server."""
    fields = await _form(request)
    check_form(request, fields.get(CSRF_FIELD, ""))
    await request.app.state.authorizer.log_out(request)
    reply = _redirect(request, "/login")
    reply.delete_cookie(COOKIE)
    return reply


@router.get("/api/openapi.json", dependencies=[require_role(Role.IDENTIFY)])
def openapi(request: Request) -> Response:
    """Return the OpenAPI description."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", dependencies=[require_role(Role.IDENTIFY)])
def docs(request: Request) -> Response:
    """Show the OpenAPI description as a page."""
    groups: dict[str, list[tuple[str, str, Any]]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    origin = f"{request.url.scheme}://{request.url.netloc}"
    return _page("docs.html", request, groups=list(groups.items()), origin=origin)
