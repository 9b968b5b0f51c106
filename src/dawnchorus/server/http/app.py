"""The ASGI application: routes and middleware."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dawnchorus.server.http import error_handlers
from dawnchorus.server.http.auth import SAFE_METHODS, STATIC, Authorizer, roles_by_path
from dawnchorus.server.http.routes import (
    dashboard_compat,
    health,
    identify,
    identify_page,
    inference,
    jobs,
    list_pages,
    lists,
    models,
    overview,
    pages,
    recordings,
    review_page,
    reviews,
    spectrogram_tiles,
    timeline,
    training_data,
)
from dawnchorus.server.http.routes.replies import ProblemDetails
from dawnchorus.server.http.uploads import PacedBody
from dawnchorus.server.service import Service
from dawnchorus.server.state.sessions import SessionStore
from dawnchorus.version import __version__

CLIENT_GONE = 499
"""Status in metrics for clients that disconnect before the response, the same as in nginx' logs."""

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
"""HTTP methods that metrics distinguish."""

ROUTE_MODULES = (
    identify_page,
    list_pages,
    overview,
    pages,
    review_page,
    dashboard_compat,
    health,
    identify,
    inference,
    lists,
    recordings,
    reviews,
    spectrogram_tiles,
    timeline,
    jobs,
    training_data,
    models,
)

ROUTER = APIRouter()
"""Routes of all modules, which all applications of the process (as in tests) share.

FastAPI analyzes their parameters once, at the first request, which takes longer than the start of a server.
"""

for _module in ROUTE_MODULES:
    ROUTER.include_router(_module.router)

STATIC_FOLDERS: list[str | tuple[str, str]] = [("dawnchorus.server.http", "static"), ("dawnchorus.reports", "static")]

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
    """Create the FastAPI application of a server, with all routes, middleware and error handlers.

    Args:
        service: opened components of the server.
    """
    app = DawnChorusAPI(
        title="Dawn Chorus",
        version=__version__,
        summary="From any recording to a table of birds",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        routes=list(ROUTER.routes),
    )
    settings = service.settings
    sessions = SessionStore(service.database, settings.tokens, max_age_s=settings.limits.session_max_age_s)
    roles = roles_by_path(route for module in ROUTE_MODULES for route in module.router.routes)
    app.state.service, app.state.authorizer = service, Authorizer(settings, sessions, roles)
    app.state.error_page = pages.error_page
    error_handlers.install(app)
    app.mount(STATIC, RevalidatedFiles(packages=STATIC_FOLDERS))
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestMiddleware, service=service, authorizer=app.state.authorizer)
    return app


class RevalidatedFiles(StaticFiles):
    """Static files that browsers must revalidate at each use, so that no page runs an outdated script."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Return the file with the header `Cache-Control: no-cache`, or status 304 if the browser's copy is current.

        The arguments are those of Starlette's `StaticFiles.file_response`.
        """
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


class HeadAsGet:
    """Middleware that answers HEAD requests like GET requests without the body, since FastAPI has no HEAD routes.

    Args:
        app: next ASGI application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        exchange = _HeadExchange(send)
        as_get = {**scope, "method": "GET"}
        await self._app(as_get, exchange.receive, exchange.send)
        await send({"type": "http.response.body", "body": b""})
        scope["route"] = as_get.get("route")


class _HeadExchange:
    """Receiver and sender of one HEAD request, which has no body, and of whose response only the headers are sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._has_started = asyncio.Event()

    async def receive(self) -> Message:
        """Return a disconnect message as soon as the response has started, so that event streams end at once."""
        await self._has_started.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a message if it is the start of the response, with the headers."""
        if message["type"] == "http.response.start":
            self._has_started.set()
            await self._send(message)


class RequestMiddleware:
    """Middleware for authorization, minimum rates of bodies, error responses, metrics and security headers.

    Args:
        app: next ASGI application.
        service: components of the server, of which metrics and limits are used.
        authorizer: authorization of requests.
    """

    def __init__(self, app: ASGIApp, *, service: Service, authorizer: Authorizer) -> None:
        self._app, self._metrics, self._authorizer = app, service.metrics, authorizer
        self._limits = service.settings.limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s = time.perf_counter()
        reply = _Reply(send)
        request = Request(scope)
        if request.method not in SAFE_METHODS:
            receive = PacedBody(receive, self._limits).receive
        try:
            refused = await self._authorizer.check(request) or refuse_encoded(request)
            response: ASGIApp = self._app if refused is None else await error_handlers.render_if_page(request, refused)
            await response(scope, receive, reply.send)
        except ClientDisconnect:
            reply.status = CLIENT_GONE
        except Exception as error:
            if reply.status:  # the response has started
                raise
            await (await error_handlers.handle_error(request, error))(scope, receive, reply.send)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = request.method if request.method in METHODS else "other"
            self._metrics.observe_request(method, route, reply.status, time.perf_counter() - start_s)


class _Reply:
    """Sender of one response, which adds the security headers; `status` is 0 until the response has started."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a message of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def refuse_encoded(request: Request) -> Response | None:
    """Return an error response (415) if the body has a Content-Encoding other than "identity", such as "gzip".

    None if there is no such encoding.
    """
    encoding = request.headers.get("content-encoding", "").strip()
    if encoding.lower() in ("", "identity"):
        return None
    detail = f"expected an uncompressed body, got the Content-Encoding {encoding[:40]!r}. Send it uncompressed."
    return error_handlers.problem_response(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": "identity"}
    )


class DawnChorusAPI(FastAPI):
    """FastAPI application whose OpenAPI description has examples, and problem details instead of FastAPI's errors.

    Args:
        options: keyword arguments of `FastAPI`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._describing = threading.Lock()
        self._description: dict[str, Any] | None = None

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description, which is built once under a lock, since FastAPI's code is not thread-safe."""
        with self._describing:
            if self._description is None:
                description = super().openapi()
                _add_examples(description)
                schemas = description.setdefault("components", {}).setdefault("schemas", {})
                schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
                for unused in ("HTTPValidationError", "ValidationError"):
                    schemas.pop(unused, None)
                self._description = description
        return self._description


def _add_examples(description: dict[str, Any]) -> None:
    examples = json.loads(files("dawnchorus.server.http").joinpath("examples.json").read_text("utf-8"))
    for operation, replies in examples.items():
        method, path = operation.split()
        for status, example in replies.items():
            reply = description["paths"][path][method.lower()]["responses"][status]
            reply.setdefault("content", {}).setdefault("application/json", {})["example"] = example
