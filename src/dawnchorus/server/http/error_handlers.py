"""Error responses as problem details (RFC 9457) with an id that is in the log."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from dawnchorus.errors import (
    AudioError,
    AudioTooLargeError,
    BusyError,
    ConflictError,
    DawnChorusError,
    FormatError,
    InputError,
    ModelError,
    NotFoundError,
    OutputError,
    OverloadedError,
    PlugInError,
    UnknownClassError,
    UploadTooLargeError,
    UploadTooSlowError,
)

LOG = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

ROUTE_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

MAX_VALUE_CHARS = 80
"""Maximum length of an invalid value in a message."""

_STATUS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (OverloadedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (UploadTooSlowError, HTTPStatus.REQUEST_TIMEOUT),
    (UploadTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (BusyError, HTTPStatus.CONFLICT),
    (ModelError, HTTPStatus.CONFLICT),
    (AudioTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (AudioError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InputError, HTTPStatus.BAD_REQUEST),
    (FormatError, HTTPStatus.BAD_REQUEST),
    (OutputError, HTTPStatus.INSUFFICIENT_STORAGE),
)
"""HTTP status of error classes, in the order of the check; 500 for all others."""


def install(app: FastAPI) -> None:
    """Add the error handlers to an application."""
    app.add_exception_handler(DawnChorusError, handle_known_error)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, unknown)


def http_status(error: Exception) -> HTTPStatus:
    """Return the HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_response(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None
) -> JSONResponse:
    """Return a problem response, and log it under its `id`; `more` are additional fields.

    `error` repeats `detail` for clients of the dashboard and of the Open Inference Protocol.
    """
    number = uuid.uuid4().hex[:12]
    title = HTTPStatus(status).phrase
    LOG.log(logging.ERROR if status >= 500 else logging.INFO, "%s %s: %s", number, title, detail)
    fields = {"type": "about:blank", "title": title, "status": status, "detail": detail, "error": detail, "id": number}
    return JSONResponse({**fields, **(more or {})}, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def is_page(request: Request) -> bool:
    """Return True if a browser requests a page, by a link or a form."""
    return "text/html" in request.headers.get("accept", "") and "/api/" not in request.scope["path"]


async def show(request: Request, problem: Response) -> Response:
    """Return a problem response as a page, if the request is for one."""
    if not is_page(request):
        return problem
    fields = json.loads(bytes(problem.body))
    headers = {name: value for name, value in problem.headers.items() if not name.startswith("content-")}
    reply: Response = await request.app.state.error_page(request, fields, headers)
    return reply


async def handle_known_error(request: Request, error: Exception) -> Response:
    """Return the response to a `DawnChorusError`."""
    assert isinstance(error, DawnChorusError)  # noqa: S101 - it is installed for no other
    status = http_status(error)
    if isinstance(error, PlugInError):
        LOG.error("plug-in", exc_info=error)
    elif status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return await unknown(request, error)
    detail = error_message(request, error)
    return await show(request, problem_response(status, detail, headers=retry_header(error), more=_more_fields(error)))


def retry_header(error: DawnChorusError) -> dict[str, str]:
    """Return the header Retry-After, if the error says when to retry."""
    return {"Retry-After": f"{error.retry_after_s:.0f}"} if isinstance(error, OverloadedError) else {}


def _more_fields(error: DawnChorusError) -> dict[str, Any] | None:
    """Return the additional fields of an error's response."""
    if isinstance(error, ConflictError):
        return {"current": error.current}
    return {"suggestions": error.suggestions} if isinstance(error, UnknownClassError) else None


def error_message(request: Request, error: DawnChorusError) -> str:
    """Return the reason of an error, after the client's name of the uploaded file that it is the subject of.

    Another subject is a file of this machine, which is not named.
    """
    names: Mapping[object, str] = getattr(request.state, "upload_names", {})
    name = names.get(error.subject)
    return error.reason if name is None else f"{name}: {error.reason}"


async def handle_error(request: Request, error: Exception) -> Response:
    """Return the response to an error outside the routes, which have the handlers above."""
    return await (_database if isinstance(error, SQLAlchemyError) else unknown)(request, error)


async def _database(request: Request, error: Exception) -> Response:
    if not isinstance(error, OperationalError | PoolTimeout):
        return await unknown(request, error)
    LOG.error("database", exc_info=error)
    detail = "the database cannot be reached, or is full. Nothing was changed; try again."
    problem = problem_response(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "2"})
    return await show(request, problem)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is installed for no other
    detail, path = str(error.detail), request.scope["path"]
    if error.status_code == HTTPStatus.NOT_FOUND and path.endswith("/"):
        detail = f"{detail}: {path[:MAX_VALUE_CHARS]}. Addresses here have no slash at their end."
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed_methods(request)):
        headers["Allow"] = ", ".join(allowed)
        detail = f"{detail}: {path[:MAX_VALUE_CHARS]} expects {' or '.join(allowed)}, got {request.method[:20]}."
    if error.status_code == HTTPStatus.UNAUTHORIZED and is_page(request):
        return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + "/login", 303)
    return await show(request, problem_response(error.status_code, detail, headers=headers))


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods of all routes of the request's path."""
    routes = request.app.router.routes
    scopes = {method: {**request.scope, "method": method} for method in ROUTE_METHODS}
    return [method for method, scope in scopes.items() if any(r.matches(scope)[0] is Match.FULL for r in routes)]


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is installed for no other
    detail = "; ".join(invalid_line(each) for each in error.errors())
    if is_page(request) and any(each["loc"][0] == "path" for each in error.errors()):
        path = request.scope["path"][:MAX_VALUE_CHARS]
        detail = f"expected an address as a page has it, got {path!r}, which may be cut or misspelled."
        return await show(request, problem_response(HTTPStatus.NOT_FOUND, detail))
    return await show(request, problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, detail))


def invalid_line(error: Mapping[str, Any]) -> str:
    """Return a message with the expected and, if it is a number or text, the actual value.

    The first part of its `loc` is named only if it is the only one, as where there is no body.
    """
    value = error.get("input")
    got = f", got {str(value)[:MAX_VALUE_CHARS]!r}" if isinstance(value, str | int | float) else ""
    return f"{'.'.join(map(str, error['loc'][1:] or error['loc']))}: {error['msg']}{got}"


async def unknown(request: Request, error: Exception) -> Response:
    """Return the reply to an unexpected error."""
    LOG.error("unexpected", exc_info=error)
    detail = "Internal server error. Details are in the server log under this id."
    return await show(request, problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
