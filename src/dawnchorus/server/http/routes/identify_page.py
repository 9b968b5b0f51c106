"""HTML start page with the form for identifying a recording."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError

from dawnchorus.errors import DawnChorusError
from dawnchorus.server.http.auth import CSRF_FIELD, check_form, require_role
from dawnchorus.server.http.dependencies import ServiceDependency, receive_recording
from dawnchorus.server.http.error_handlers import error_message, http_status, invalid_line, retry_header
from dawnchorus.server.http.page_templates import redirect, render_page
from dawnchorus.server.http.parameters import merge_fields, refuse_unknown
from dawnchorus.server.http.routes.identify import IdentifyRequest, identify_upload
from dawnchorus.server.listing import RecordingQuery, find_recordings
from dawnchorus.server.overview import read_version
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import Job

N_TILES = 8

FIELDS = ("lat", "lon", "week", "min_score", "overlap", "range_threshold")
"""Parameters of `IdentifyRequest` that the form has."""

router = APIRouter(include_in_schema=False)


@router.get("/", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def home(request: Request, service: ServiceDependency) -> Response:
    """Show the start page with the form for uploads and the latest recordings."""
    return _home(request, service)


def _home(request: Request, service: Service, **values: Any) -> Response:
    with service.database.read() as session:
        version = read_version(session)  # before what it is the version of
    latest = find_recordings(service.database, RecordingQuery(), limit=N_TILES)
    records = [record for record in latest.rows if record.recording.error is None]
    return render_page("home.html", request, records=records, version=version, limits=service.settings.limits, **values)


@router.post("/", dependencies=[require_role(Role.IDENTIFY, is_form=True)])
async def upload(request: Request, service: ServiceDependency) -> Response:
    """Identify and store the recording in the form, and redirect to its page, or to the page of a long recording's job.

    After an error, the start page is shown with the error's message and status code.
    """
    try:
        async with receive_recording(service, request) as (path, name):
            fields = dict(request.state.texts)
            check_form(request, fields.pop(CSRF_FIELD, ""))
            refuse_unknown(fields, FIELDS, "field")
            given = merge_fields(IdentifyRequest(), fields)
            defaults = {"merge": True, "store": True, "own_location_first": True}
            done = await identify_upload(service, given.model_copy(update=defaults), path, name)
    except RequestValidationError as error:
        detail = "; ".join(invalid_line(each) for each in error.errors())
        return await asyncio.to_thread(_home, request, service, error=detail, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    except DawnChorusError as error:
        return await asyncio.to_thread(
            _home,
            request,
            service,
            error=error_message(request, error),
            status=http_status(error),
            headers=retry_header(error),
        )
    return redirect(request, f"/jobs/{done.id}" if isinstance(done, Job) else f"/recordings/{done.sha256}")
