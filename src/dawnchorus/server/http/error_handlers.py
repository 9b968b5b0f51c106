"""Every error as one kind of JSON (RFC 9457): what, why, what to do, and a number to find it in the log by."""

from __future__ import annotations

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

from dawnchorus.errors import (
    AudioError,
    AudioTooLargeError,
    BusyError,
    DawnChorusError,
    FormatError,
    InputError,
    ModelError,
    NotFoundError,
    OutputError,
    OverloadedError,
    UnknownClassError,
    UploadTooLargeError,
    UploadTooSlowError,
)

LOG = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

MAX_SHOWN = 80
"""Characters of a value that is not valid."""

_STATUS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (OverloadedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (UploadTooSlowError, HTTPStatus.REQUEST_TIMEOUT),
    (UploadTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (BusyError, HTTPStatus.CONFLICT),
    (ModelError, HTTPStatus.CONFLICT),
    (AudioTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (AudioError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InputError, HTTPStatus.BAD_REQUEST),
    (FormatError, HTTPStatus.BAD_REQUEST),
    (OutputError, HTTPStatus.INSUFFICIENT_STORAGE),
)
"""The first that fits; anything else is ours."""


def install(app: FastAPI) -> None:
    """Answer errors so."""
    app.add_exception_handler(DawnChorusError, known)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, unknown)


def status_of(error: Exception) -> HTTPStatus:
    """Return the HTTP status of an error of ours."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None
) -> JSONResponse:
    """Return the reply; its `id` is in the log as well, and `more` are further fields.

    `error` repeats `detail` for clients of the dashboard and of the Open Inference Protocol.
    """
    number = uuid.uuid4().hex[:12]
    title = HTTPStatus(status).phrase
    LOG.log(logging.ERROR if status >= 500 else logging.INFO, "%s %s: %s", number, title, detail)
    fields = {"type": "about:blank", "title": title, "status": status, "detail": detail, "error": detail, "id": number}
    return JSONResponse({**fields, **(more or {})}, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def _is_page(request: Request) -> bool:
    return (
        request.method == "GET"
        and "text/html" in request.headers.get("accept", "")
        and "/api/" not in request.scope["path"]
    )


async def _shown(request: Request, status: int, detail: str) -> Response:
    reply: Response = await request.app.state.error_page(request, status, detail)
    return reply


async def known(request: Request, error: Exception) -> Response:
    """Return the reply to an error of ours."""
    status = status_of(error)
    headers = {"Retry-After": f"{error.retry_after_s:.0f}"} if isinstance(error, OverloadedError) else {}
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return await unknown(request, error)
    detail = shown(request, error)
    if _is_page(request):
        return await _shown(request, status, detail)
    more = {"suggestions": error.suggestions} if isinstance(error, UnknownClassError) else None
    return problem(status, detail, headers=headers, more=more)


def shown(request: Request, error: Exception) -> str:
    """Return the error message, with the sender's name for the file."""
    message: str = request.app.state.service.shown(getattr(request.state, "shown", str)(str(error)))
    return message


async def _database(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, OperationalError | PoolTimeout):
        return await unknown(request, error)
    LOG.error("database", exc_info=error)
    detail = "the database does not answer, or is full. Nothing was changed; try again."
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "2"})


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is installed for no other
    is_page = _is_page(request)
    detail, path = str(error.detail), request.scope["path"]
    if error.status_code == HTTPStatus.NOT_FOUND and path.endswith("/"):
        detail = f"{detail}: {path[:MAX_SHOWN]}. Addresses here have no slash at their end."
    if error.status_code == HTTPStatus.UNAUTHORIZED and is_page:
        return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + "/login", 303)
    if is_page:
        return await _shown(request, error.status_code, detail)
    return problem(error.status_code, detail, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is installed for no other
    lines = [_invalid_line(each) for each in error.errors()]
    if _is_page(request):
        return await _shown(request, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(lines))
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(lines))


def _invalid_line(error: Mapping[str, Any]) -> str:
    """Return what was expected of a value, and a number or text that came."""
    got = error.get("input")
    came = f", got {str(got)[:MAX_SHOWN]!r}" if isinstance(got, str | int | float) else ""
    return f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}{came}"


async def unknown(_request: Request, error: Exception) -> JSONResponse:
    """Return the reply to an unexpected error."""
    LOG.error("unexpected", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This should not happen. The log has more under this id.")
