"""The pages: identify, look back, review, teach, choose models, watch the server."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dawnchorus.errors import DawnChorusError, InputError
from dawnchorus.identification.options import DEFAULT_MIN_SCORE, Options
from dawnchorus.server.history import Found, Heard
from dawnchorus.server.http.auth import COOKIE, CSRF_FIELD, check_form, needs, own_path
from dawnchorus.server.http.dependencies import ServiceOf, receive_recording
from dawnchorus.server.http.error_handlers import shown, status_of
from dawnchorus.server.http.parameters import refuse_repeated, refuse_unknown
from dawnchorus.server.http.routes.identify import is_long, queued
from dawnchorus.server.http.routes.replies import Sha256
from dawnchorus.server.http.uploads import read_body
from dawnchorus.server.settings import Role

N_TILES, N_QUEUE, N_ROWS = 8, 24, 50
N_SHOWN = 500
"""Detections of a recording that its page lists."""

MAX_FORM_BYTES = 4096

ENOUGH = 10
"""Recordings of a species below which the page asks for more."""

_CSS, _JS = "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_STATIC = {
    "style.css": ("style.css", _CSS),
    "page.js": ("page.js", _JS),
    "viewer.js": ("viewer.js", _JS),
    "charts.js": ("charts.js", _JS),
    "uPlot.iife.min.js": ("vendor/uPlot.iife.min.js", _JS),
    "uPlot.min.css": ("vendor/uPlot.min.css", _CSS),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path below `static` and media type by name."""

_PAGES = Environment(
    loader=PackageLoader("dawnchorus.server.http", "templates"), autoescape=True, undefined=StrictUndefined
)

router = APIRouter(include_in_schema=False)


def _page(template: str, request: Request, *, status: int = 200, **values: object) -> Response:
    service = request.app.state.service
    base = request.scope.get("root_path", "").rstrip("/")
    known = {
        "error": None,
        "base": base,
        "here": own_path(request),
        "csrf": request.state.csrf,
        "bundle": service.lanes.bundle,
        "min_score": DEFAULT_MIN_SCORE,
    }
    content = _PAGES.get_template(template).render({**known, **values})
    return HTMLResponse(content, status, headers={"Cache-Control": "no-store"})


async def error_page(request: Request, status: int, detail: str) -> Response:
    """Render an error page."""
    return await asyncio.to_thread(_page, "error.html", request, status=status, error=detail)


def _to(request: Request, path: str) -> Response:
    return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + path, 303)


# ---------------------------------------------------------------------- identify


@router.get("/", dependencies=[needs(Role.IDENTIFY)])
def home(request: Request, service: ServiceOf) -> Response:
    """Show the page for uploads."""
    return _home(request, service)


def _home(request: Request, service: ServiceOf, **values: Any) -> Response:
    _, rows = service.history.recordings(limit=N_TILES, offset=0)
    return _page("home.html", request, recordings=rows, **values)


@router.post("/", dependencies=[needs(Role.IDENTIFY)])
async def found(request: Request, service: ServiceOf) -> Response:
    """Listen to it, keep it, and show what was heard; of a long one, how far it is."""
    options = Options(min_score=DEFAULT_MIN_SCORE, merge=True)
    try:
        async with receive_recording(service, request) as (path, name):
            check_form(request, request.state.texts.get(CSRF_FIELD, ""))
            refuse_unknown(request.state.texts, (CSRF_FIELD,), "field")
            if await is_long(service, path):
                job = await asyncio.to_thread(queued, service, path, name, options)
                return _to(request, f"/jobs/{job.id}")
            recognition = await service.recognised(path, options, name)
            sha256 = await asyncio.to_thread(service.history.keep, recognition, path, name)
    except DawnChorusError as error:
        return await asyncio.to_thread(_home, request, service, error=shown(request, error), status=status_of(error))
    return _to(request, f"/recordings/{sha256}")


@router.get("/recordings/{sha256}", dependencies=[needs(Role.IDENTIFY)])
def recording(request: Request, service: ServiceOf, sha256: Sha256) -> Response:
    """Show a recording with its spectrogram, sound and detections."""
    row = service.history.recording(sha256)
    total, detections = service.history.detections(Heard(recording=sha256), limit=N_SHOWN)
    surest = detections
    if total > N_SHOWN:
        _, surest = service.history.detections(Heard(recording=sha256), limit=N_SHOWN, by_score=True)
    groups = _by_species(surest)
    has_channels = any(each.detection.channel is not None for each in detections)
    return _page(
        "recording.html",
        request,
        row=row,
        detections=detections,
        total=total,
        groups=groups,
        has_channels=has_channels,
    )


def _by_species(detections: list[Found]) -> list[list[Found]]:
    """Group detections by species, the highest scores first."""
    groups: dict[str, list[Found]] = {}
    for each in detections:
        groups.setdefault(each.detection.scientific_name, []).append(each)
    ordered = [sorted(group, key=lambda f: -f.detection.score) for group in groups.values()]
    return sorted(ordered, key=lambda group: -group[0].detection.score)


@router.get("/jobs/{job_id}", dependencies=[needs(Role.IDENTIFY)])
def job(request: Request, service: ServiceOf, job_id: str) -> Response:
    """Show the progress of a job."""
    found = service.jobs.get(job_id)
    then = f"/recordings/{found.parameters['sha256']}" if found.kind == "identify" else "/teach"
    return _page("job.html", request, job=found, then=then)


# ---------------------------------------------------------------------- look back, review


@router.get("/history", dependencies=[needs(Role.IDENTIFY)])
def history(
    request: Request,
    service: ServiceOf,
    species: Annotated[str, Query(max_length=200)] = "",
    min_score: Annotated[str, Query(max_length=20)] = "",
    since: Annotated[str, Query(max_length=40)] = "",
    reviewed: Annotated[str, Query(max_length=8)] = "",
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """Show the history of detections, the latest first."""
    wanted = Heard(
        species=species or None,
        min_score=_score(min_score),
        reviewed={"true": True, "false": False}.get(reviewed),
        since=_day(since),
    )
    total, rows = service.history.detections(wanted, limit=N_ROWS, offset=offset)
    n_recordings, _ = service.history.recordings(limit=1, offset=0)
    given = [(name, value) for name, value in parse_qsl(request.url.query) if name != "offset"]
    return _page(
        "history.html",
        request,
        wanted=wanted,
        since=since,
        found=rows,
        total=total,
        total_recordings=n_recordings,
        offset=offset,
        before=urlencode([*given, ("offset", max(offset - N_ROWS, 0))]) if offset else None,
        after=urlencode([*given, ("offset", offset + N_ROWS)]) if offset + N_ROWS < total else None,
    )


def _score(text: str) -> float:
    try:
        found = float(text or 0)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise InputError(f"score: expected a number from 0 to 1, got {text!r}.")
    return found


def _day(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        raise InputError(f"since: expected a day such as 2026-05-01, got {text[:40]!r}.") from None


@router.get("/review", dependencies=[needs(Role.IDENTIFY)])
def review(request: Request, service: ServiceOf) -> Response:
    """Show detections that nobody has reviewed yet, the highest scores first."""
    total, rows = service.history.detections(Heard(reviewed=False), limit=N_QUEUE, by_score=True)
    return _page("review.html", request, total=total, found=rows)


# ---------------------------------------------------------------------- teach


@router.get("/teach", dependencies=[needs(Role.IDENTIFY)])
def teach(request: Request, service: ServiceOf) -> Response:
    """Show the training data and the progress of a retraining."""
    balance = service.lessons.balance()
    _, rows = service.jobs.find(kind="retrain", limit=1)
    job = rows[0] if rows else None
    return _page(
        "teach.html",
        request,
        balance=balance,
        most=max((row.n_recordings for row in balance), default=1),
        enough=ENOUGH,
        thin=[row.common_name for row in balance if row.scientific_name and row.n_recordings < ENOUGH][:8],
        job=job,
        result=job.result if job is not None else None,
        can_roll_back=service.registry.has_previous(),
    )


# ---------------------------------------------------------------------- models, system


@router.get("/models", dependencies=[needs(Role.IDENTIFY)])
def models(request: Request, service: ServiceOf) -> Response:
    """Show the models, and the active one."""
    registry = service.registry
    return _page(
        "models.html",
        request,
        models=registry.models(),
        history=registry.history(),
        can_roll_back=registry.has_previous(),
    )


@router.get("/system", dependencies=[needs(Role.IDENTIFY)])
def system(request: Request, service: ServiceOf) -> Response:
    """Show totals of all detections and the state of the server."""
    totals = service.history.totals()
    _, jobs = service.jobs.find(limit=10)
    return _page(
        "system.html",
        request,
        totals=totals,
        uptime=_length(service.uptime_s),
        waiting=service.lanes.n_waiting,
        lanes=service.lanes.n_lanes,
        free_bytes=shutil.disk_usage(service.settings.data).free,
        jobs=jobs,
    )


def _length(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    return (
        f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    )


# ---------------------------------------------------------------------- log in, documentation, files


@router.get("/login", dependencies=[needs(Role.OPEN)])
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


@router.post("/login", dependencies=[needs(Role.OPEN)])
async def log_in(request: Request) -> Response:
    """Log in with a token."""
    fields = await _form(request)
    cookie = request.app.state.access.log_in(request, fields.get("token", ""))
    if cookie is None:
        return _page("login.html", request, error="This is none of the server's tokens.", status=401)
    reply = _to(request, "/")
    is_secure = request.url.scheme == "https"
    reply.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=is_secure, max_age=30 * 86_400)
    return reply


@router.post("/logout", dependencies=[needs(Role.OPEN)])
async def log_out(request: Request) -> Response:
    """Forget who it is."""
    fields = await _form(request)
    check_form(request, fields.get(CSRF_FIELD, ""))
    reply = _to(request, "/login")
    reply.delete_cookie(COOKIE)
    return reply


@router.get("/api/openapi.json", dependencies=[needs(Role.IDENTIFY)])
def openapi(request: Request) -> Response:
    """Return the OpenAPI description."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", dependencies=[needs(Role.IDENTIFY)])
def docs(request: Request) -> Response:
    """Show the OpenAPI description as a page."""
    groups: dict[str, list[tuple[str, str, Any]]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        for method, about in methods.items():
            groups.setdefault(about["tags"][0], []).append((method.upper(), path, about))
    origin = f"{request.url.scheme}://{request.url.netloc}"
    return _page("docs.html", request, groups=list(groups.items()), origin=origin)


@router.get("/static/{name}", dependencies=[needs(Role.OPEN)])
def static(request: Request, name: str) -> Response:
    """Return a style, a script or the icon; browsers ask each time if theirs is the current one."""
    if name not in _STATIC:
        return Response(status_code=404)
    content, tag = _read_static(name)
    headers = {"Cache-Control": "no-cache", "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_STATIC[name][1], headers=headers)


@cache
def _read_static(name: str) -> tuple[bytes, str]:
    """Return a file's content, and its entity tag."""
    content = resources.files("dawnchorus.server.http").joinpath("static", _STATIC[name][0]).read_bytes()
    if name == "style.css":
        content = resources.files("dawnchorus.reports").joinpath("templates", name).read_bytes() + content
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
