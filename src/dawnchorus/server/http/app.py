"""The server's application: its routes, and what is done to every request."""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dawnchorus import __version__
from dawnchorus.server.http import error_handlers
from dawnchorus.server.http.auth import SAFE_METHODS, Access
from dawnchorus.server.http.routes import (
    dashboard_compat,
    health,
    identify,
    inference,
    jobs,
    models,
    pages,
    recordings,
    training_data,
)
from dawnchorus.server.http.routes.replies import Problem
from dawnchorus.server.http.uploads import paced
from dawnchorus.server.service import Service

CLIENT_GONE = 499
"""Status that nginx logs for clients who left before the answer."""

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
    """Create the application of a service that was opened."""
    app = DawnChorusAPI(
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
    error_handlers.install(app)
    for noun in (pages, dashboard_compat, health, identify, inference, recordings, jobs, training_data, models):
        app.include_router(noun.router)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Watched, service=service, access=app.state.access)
    return app


class HeadAsGet:
    """Answers HEAD as GET, without the body: monitors and caches ask so, and FastAPI's routes know only GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        has_begun = asyncio.Event()

        async def receive_end() -> Message:  # there is no body to read, and streams of events end at once
            await has_begun.wait()
            return {"type": "http.disconnect"}

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                has_begun.set()
                await send(message)

        as_get = {**scope, "method": "GET"}
        await self._app(as_get, receive_end, send_headers)
        await send({"type": "http.response.body", "body": b""})
        scope["route"] = as_get.get("route")


class Watched:
    """Refuses who may not ask, counts every answer, and gives it the headers that keep browsers careful."""

    def __init__(self, app: ASGIApp, *, service: Service, access: Access) -> None:
        self._app, self._meters, self._access = app, service.meters, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        answer: ASGIApp = await self._access.refusal(request) or refuse_encoded(request) or self._app
        try:
            await answer(scope, receive if request.method in SAFE_METHODS else paced(receive), watched)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception as error:
            if status:  # it has begun, so there is nothing else to say
                raise
            await (await error_handlers.unknown(request, error))(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = request.method if request.method in METHODS else "other"
            self._meters.request(method, route, status, time.perf_counter() - begin)


def refuse_encoded(request: Request) -> ASGIApp | None:
    """Return the reply to a body that is compressed: nothing here unpacks one; None for others."""
    encoding = request.headers.get("content-encoding", "").strip()
    if encoding.lower() in ("", "identity"):
        return None
    detail = f"expected a body as it is, got one with the Content-Encoding {encoding[:40]!r}. Send it uncompressed."
    return error_handlers.problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": "identity"})


class DawnChorusAPI(FastAPI):
    """Describes itself, when first asked, with examples and with the shape of its errors in place of FastAPI's own."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description."""
        if self.openapi_schema is None:
            description = super().openapi()
            _add_examples(description)
            schemas = description.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        return super().openapi()


def _add_examples(description: dict[str, Any]) -> None:
    examples = json.loads(files("dawnchorus.server.http").joinpath("examples.json").read_text("utf-8"))
    for operation, replies in examples.items():
        method, path = operation.split()
        for status, example in replies.items():
            reply = description["paths"][path][method.lower()]["responses"][status]
            reply.setdefault("content", {}).setdefault("application/json", {})["example"] = example
