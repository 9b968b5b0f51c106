"""The server's application: its routes, and what is done to every request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from dawnchorus import __version__
from dawnchorus.serve import problems
from dawnchorus.serve.access import Access
from dawnchorus.serve.routes import health, identify, jobs, lessons, models, pages, recordings, seed
from dawnchorus.serve.routes.replies import Problem
from dawnchorus.serve.service import Service

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def create_app(service: Service) -> FastAPI:
    """The application of a service that was opened."""
    app = FastAPI(
        title="Dawn Chorus",
        version=__version__,
        summary="From any recording to a table of birds",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.service, app.state.access = service, Access(service.settings)
    app.state.error_page = pages.error_page
    problems.install(app)
    for noun in (pages, seed, health, identify, recordings, jobs, lessons, models):
        app.include_router(noun.router)
    _describe_problems(app)

    @app.middleware("http")
    async def watched(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        begin = time.perf_counter()
        try:
            reply = app.state.access.refusal(request) or await call_next(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered and counted as all others
            reply = await problems.unknown(request, error)
        for name, value in SECURITY_HEADERS.items():
            reply.headers.setdefault(name, value)
        route = getattr(request.scope.get("route"), "path", "none")
        method = request.method if request.method in METHODS else "other"
        service.meters.request(method, route, reply.status_code, time.perf_counter() - begin)
        return reply

    return app


def _describe_problems(app: FastAPI) -> None:
    """Put the shape of errors into the documentation, in place of FastAPI's own."""
    made = app.openapi()
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
