"""HTML pages of the lists: recordings and detections."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request, Response

from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.page_templates import redirect, render_page
from dawnchorus.server.http.recording_page import DOWNLOADS
from dawnchorus.server.http.routes.lists import MAX_SITES, DetectionPageFilter, RecordingFilter, RecordingPageFilter
from dawnchorus.server.http.routes.replies import recording_state
from dawnchorus.server.listing import Page, Row, find_detections, find_recordings, list_sites, list_species_names
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.suggestions import nearest

N_ROWS = 50

router = APIRouter(include_in_schema=False)


@router.get("/recordings", dependencies=[require_role(Role.IDENTIFY)])
def recordings(
    request: Request, service: ServiceDependency, query: Annotated[RecordingPageFilter, Query()]
) -> Response:
    """Show the recordings, the latest upload first."""
    page = find_recordings(service.database, query.query(), limit=N_ROWS, cursor=query.cursor)
    states = {record.recording.sha256: recording_state(record.recording) for record in page.rows}
    values = _list_values(request, service, query, page)
    return render_page("recordings.html", request, states=states, formats=DOWNLOADS, **values)


@router.get("/detections", dependencies=[require_role(Role.IDENTIFY)])
def detections(
    request: Request, service: ServiceDependency, query: Annotated[DetectionPageFilter, Query()]
) -> Response:
    """Show the detections, the latest upload first."""
    page = find_detections(service.database, query.query(), limit=N_ROWS, cursor=query.cursor)
    return render_page("detections.html", request, **_list_values(request, service, query, page))


@router.get("/history", dependencies=[require_role(Role.IDENTIFY)])
def history(request: Request) -> Response:
    """Redirect from the address that the detections had before."""
    return redirect(request, "/detections")


def _list_values(request: Request, service: Service, query: RecordingFilter, page: Page[Row]) -> dict[str, Any]:
    """Return the values that the templates of both lists have."""
    given = [(name, value) for name, value in parse_qsl(request.url.query) if name != "cursor"]
    links = {
        name: None if cursor is None else urlencode([*given, ("cursor", cursor)])
        for name, cursor in (("newer", page.previous), ("older", page.next))
    }
    suggests = query.species and not page.rows
    return {
        "query": query,
        "page": page,
        "links": links,
        "is_filtered": bool(given),
        "sites": list_sites(service.database, limit=MAX_SITES),
        "suggestions": nearest(query.species or "", list_species_names(service.database), n=3) if suggests else [],
    }
