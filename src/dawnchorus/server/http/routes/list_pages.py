"""HTML pages with the lists of recordings and of detections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from dawnchorus.errors import InputError
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.page_templates import redirect, render_page
from dawnchorus.server.http.parameters import PageQuery, note
from dawnchorus.server.http.recording_page import DOWNLOADS
from dawnchorus.server.http.routes.lists import MAX_SITES, DetectionPageFilter, RecordingFilter, RecordingPageFilter
from dawnchorus.server.http.routes.replies import recording_state
from dawnchorus.server.listing import (
    Page,
    Row,
    find_detections,
    find_recordings,
    list_sites,
    list_species_names,
    order_by_upload,
)
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.suggestions import nearest

N_ROWS = 50

router = APIRouter(include_in_schema=False)


@router.get("/recordings", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def recordings(
    request: Request,
    service: ServiceDependency,
    query: Annotated[RecordingPageFilter, Depends(PageQuery(RecordingPageFilter))],
) -> Response:
    """Show a page of the list of recordings, the latest upload first; recordings of one upload are sorted by name."""
    page = _find(find_recordings, request, service, query)
    page = replace(page, rows=order_by_upload(page.rows))
    states = {record.recording.sha256: recording_state(record.recording) for record in page.rows}
    values = _list_values(service, query, page)
    return render_page("recordings.html", request, states=states, formats=DOWNLOADS, **values)


@router.get("/detections", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def detections(
    request: Request,
    service: ServiceDependency,
    query: Annotated[DetectionPageFilter, Depends(PageQuery(DetectionPageFilter))],
) -> Response:
    """Show a page of the list of detections, those of the latest upload first."""
    page = _find(find_detections, request, service, query)
    return render_page("detections.html", request, **_list_values(service, query, page))


@router.get("/history", dependencies=[require_role(Role.IDENTIFY, is_page=True)])
def redirect_history(request: Request) -> Response:
    """Redirect from the former URL of the page of detections to its present URL, /detections."""
    return redirect(request, "/detections")


def _find(find: Callable[..., Page[Row]], request: Request, service: Service, query: Any) -> Page[Row]:
    """Return the page of a list at the query's cursor, or the first page and a note if the cursor is invalid."""
    try:
        return find(service.database, query.query(), limit=N_ROWS, cursor=query.cursor)
    except InputError as error:
        note(request, error.reason)
        return find(service.database, query.query(), limit=N_ROWS)


def _list_values(service: Service, query: RecordingFilter, page: Page[Row]) -> dict[str, Any]:
    """Return the values by name that the templates of both lists use."""
    links = {
        name: None if cursor is None else query.query_string(cursor=cursor)
        for name, cursor in (("newer", page.previous), ("older", page.next))
    }
    suggests = query.species and not page.rows
    return {
        "query": query,
        "page": page,
        "links": links,
        "is_filtered": bool(query.query_string(cursor=None)),
        "sites": list_sites(service.database, limit=MAX_SITES),
        "suggestions": nearest(query.species or "", list_species_names(service.database), n=3) if suggests else [],
    }
