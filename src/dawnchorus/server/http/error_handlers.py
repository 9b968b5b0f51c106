"""Error responses: problem details (RFC 9457) as JSON, or an HTML page; each has an id that is also in the log."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
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
"""HTTP status by error class; the first class that matches counts, and other errors have the status 500."""


def install(app: FastAPI) -> None:
    """Add the error handlers of this module to an application."""
    app.add_exception_handler(DawnChorusError, handle_known_error)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, handle_unexpected_error)


def http_status(error: Exception) -> HTTPStatus:
    """Return the HTTP status for an exception by its class; 500 for classes without a status of their own."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_response(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None
) -> JSONResponse:
    """Return an error response as JSON (`routes.replies.ProblemDetails`), and log the error under its field `id`.

    The field `error` is a copy of `detail`, for clients of the dashboard and of the Open Inference Protocol.

    Args:
        status: HTTP status code.
        detail: reason of the error, for the client.
        headers: additional headers by name; None for no additional headers.
        more: additional fields by name, which replace fields of the same name; None for no additional fields.
    """
    number = uuid.uuid4().hex[:12]
    title = HTTPStatus(status).phrase
    LOG.log(logging.ERROR if status >= 500 else logging.INFO, "%s %s: %s", number, title, detail)
    fields = {"type": "about:blank", "title": title, "status": status, "detail": detail, "error": detail, "id": number}
    return JSONResponse({**fields, **(more or {})}, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def is_page(request: Request) -> bool:
    """Return True if the request is for an HTML page: its Accept header has "text/html", and its path no "/api/"."""
    return "text/html" in request.headers.get("accept", "") and "/api/" not in request.scope["path"]


async def render_if_page(request: Request, problem: Response) -> Response:
    """Return the HTML page of an error if the request is for a page (`is_page`), else the response `problem` itself.

    Args:
        request: the request that failed.
        problem: response with the error, from `problem_response`.
    """
    if not is_page(request):
        return problem
    fields = json.loads(bytes(problem.body))
    headers = {name: value for name, value in problem.headers.items() if not name.startswith("content-")}
    reply: Response = await request.app.state.error_page(request, fields, headers)
    return reply


async def handle_known_error(request: Request, error: Exception) -> Response:
    """Return the response to a `DawnChorusError`, with the status of its class and its reason.

    An error of a class without a status of its own is treated as unexpected, except for a `PlugInError`, which is
    logged, and whose response has the status 500 and the reason.
    """
    assert isinstance(error, DawnChorusError)  # noqa: S101 - it is installed for no other
    status = http_status(error)
    if isinstance(error, PlugInError):
        LOG.error("plug-in", exc_info=error)
    elif status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return await handle_unexpected_error(request, error)
    detail = error_message(request, error)
    return await render_if_page(
        request, problem_response(status, detail, headers=retry_header(error), more=_more_fields(error))
    )


def retry_header(error: DawnChorusError) -> dict[str, str]:
    """Return `{"Retry-After": "SECONDS"}` for an `OverloadedError`; an empty dict for other errors."""
    return {"Retry-After": f"{error.retry_after_s:.0f}"} if isinstance(error, OverloadedError) else {}


def _more_fields(error: DawnChorusError) -> dict[str, Any] | None:
    """Return the additional fields of the response to a `ConflictError` or `UnknownClassError`, else None."""
    if isinstance(error, ConflictError):
        return {"current": error.current}
    return {"suggestions": error.suggestions} if isinstance(error, UnknownClassError) else None


def error_message(request: Request, error: DawnChorusError) -> str:
    """Return the reason of an error for the client.

    If the error's subject is an uploaded file, the client's name of the file comes first. Other subjects are paths on
    this machine, which are not shown.
    """
    names: Mapping[object, str] = getattr(request.state, "upload_names", {})
    name = names.get(error.subject)
    return error.reason if name is None else f"{name}: {error.reason}"


async def handle_error(request: Request, error: Exception) -> Response:
    """Return the response to an exception outside of the application's routes, such as in the middleware.

    The status is 503 if the database cannot be reached, is locked or is full, else 500. The exception is logged.
    """
    return await (_database if isinstance(error, SQLAlchemyError) else handle_unexpected_error)(request, error)


async def _database(request: Request, error: Exception) -> Response:
    if not isinstance(error, OperationalError | PoolTimeout):
        return await handle_unexpected_error(request, error)
    LOG.error("database", exc_info=error)
    detail = "the database cannot be reached, or is full. Nothing was changed; try again."
    problem = problem_response(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "2"})
    return await render_if_page(request, problem)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is installed for no other
    detail, path = str(error.detail), request.scope["path"]
    if error.status_code == HTTPStatus.NOT_FOUND and path.endswith("/"):
        detail = f"{detail}: {path[:MAX_VALUE_CHARS]}. Addresses here have no slash at their end."
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed_methods(request)):
        headers["Allow"] = ", ".join(allowed)
        detail = f"{detail}: {path[:MAX_VALUE_CHARS]} expects {' or '.join(allowed)}, got {request.method[:20]}."
    return await render_if_page(request, problem_response(error.status_code, detail, headers=headers))


def _allowed_methods(request: Request) -> list[str]:
    """Return the HTTP methods that the request's path supports."""
    routes = request.app.router.routes
    scopes = {method: {**request.scope, "method": method} for method in ROUTE_METHODS}
    return [method for method, scope in scopes.items() if any(r.matches(scope)[0] is Match.FULL for r in routes)]


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is installed for no other
    detail = "; ".join(invalid_line(each) for each in error.errors())
    if is_page(request) and any(each["loc"][0] == "path" for each in error.errors()):
        path = request.scope["path"][:MAX_VALUE_CHARS]
        detail = f"expected an address as a page has it, got {path!r}, which may be cut or misspelled."
        return await render_if_page(request, problem_response(HTTPStatus.NOT_FOUND, detail))
    return await render_if_page(request, problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, detail))


def invalid_line(error: Mapping[str, Any]) -> str:
    """Return a message for a validation error of Pydantic or FastAPI: field, Pydantic's message, and the given value.

    The given value is cut to `MAX_VALUE_CHARS`; values other than texts, numbers and booleans are left out.

    Args:
        error: an element of `ValidationError.errors()`. The first part of its `loc` (such as "body") is left out of the
            field's name, unless it is the only part.
    """
    value = error.get("input")
    got = f", got {str(value)[:MAX_VALUE_CHARS]!r}" if isinstance(value, str | int | float) else ""
    return f"{'.'.join(map(str, error['loc'][1:] or error['loc']))}: {error['msg']}{got}"


async def handle_unexpected_error(request: Request, error: Exception) -> Response:
    """Return the response to an unexpected exception (status 500), which is logged with its traceback."""
    LOG.error("unexpected", exc_info=error)
    detail = "Internal server error. Details are in the server log under this id."
    return await render_if_page(request, problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
