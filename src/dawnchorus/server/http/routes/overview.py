"""Overview of all stored recordings: HTML page, API route, and a stream of events on changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import date, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool

from dawnchorus.server.detection_counts import LEVELS
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.page_templates import render_page
from dawnchorus.server.http.parameters import PageQuery, RequestParameters, to_text
from dawnchorus.server.http.routes.lists import MAX_SITES, MAX_TEXT
from dawnchorus.server.http.routes.replies import error_responses
from dawnchorus.server.listing import list_sites
from dawnchorus.server.overview import Overview, OverviewQuery, Period, read_overview, read_version
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2999, 12, 31)

POLL_S = 1.0
"""Interval at which a stream looks for changes in the database."""
MAX_STREAM_S = 60.0
"""Maximum duration of a stream of events; browsers reconnect after its end."""

RETRY_MS = 1000

router = APIRouter()


def _check_level(score: float) -> float:
    if score not in LEVELS:
        levels = ", ".join(f"{level:g}" for level in LEVELS)
        raise PydanticCustomError("level", "expected one of {levels}: other scores are not counted", {"levels": levels})
    return score


class OverviewFilter(RequestParameters):
    """Filter of the overview, for the page and the API."""

    period: Period = Field("all", description="Period: week (7 days), month (31 days), year (12 months) or all.")
    to: date | None = Field(
        None,
        ge=FIRST_DAY,
        le=LAST_DAY,
        description="Last day of the period, unless it is all. Default: day of the latest recording.",
    )
    site: str | None = Field(None, max_length=255, description="Exact name of the recording site.")
    species: str | None = Field(
        None,
        max_length=MAX_TEXT,
        description="Scientific or common name of a species, or, if no name is equal, a part of it.",
    )
    min_score: Annotated[float, AfterValidator(_check_level)] = Field(
        0.0, description="Minimum score of the detections: 0, 0.25, 0.5, 0.75 or 0.9."
    )
    all_species: bool = Field(default=False, description="Show up to 500 species over time, in place of at most 20.")

    def query(self) -> OverviewQuery:
        """Return the filter as a query of the database."""
        return OverviewQuery(**dict(self))

    def link_to_list(self, *names: str, **more: object) -> str:
        """Return a URL's query string, without `?`, for a list of recordings or detections with this filter's values.

        Args:
            names: names of the filter's fields to include, if they have a value.
            more: further parameters of the list by name, which replace those in `names`; None leaves one out.
        """
        values = {name: value for name in names if (value := getattr(self, name))} | more
        return urlencode({name: to_text(value) for name, value in values.items() if value is not None})


@router.get("/overview", dependencies=[require_role(Role.IDENTIFY, is_page=True)], include_in_schema=False)
def overview(
    request: Request,
    service: ServiceDependency,
    query: Annotated[OverviewFilter, Depends(PageQuery(OverviewFilter))],
) -> Response:
    """Show the page with sums and charts of all stored recordings."""
    result = read_overview(service.database, query.query())
    return render_page(
        "overview.html",
        request,
        query=query,
        overview=result,
        levels=LEVELS,
        sites=list_sites(service.database, limit=MAX_SITES),
        is_filtered=bool(query.model_fields_set),
        most_in_hour=max((each.n_detections for row in result.hours for each in row), default=0),
        most_in_span=max((n for each in result.species for n in each.n_recordings), default=0),
        neighbors=_link_neighbors(query, result),
    )


def _link_neighbors(query: OverviewFilter, result: Overview) -> dict[str, str]:
    """Return the URL queries of the periods before ("earlier") and after ("later") the shown period."""
    if query.period == "all" or not result.spans:
        return {}
    first, last = result.spans[0].first, result.spans[-1].last
    later = last.replace(year=last.year + 1, day=1) if query.period == "year" else last + timedelta(len(result.spans))
    days = {"earlier": first - timedelta(days=1), "later": later}
    return {name: query.query_string(to=day.isoformat()) for name, day in days.items()}


@router.get(
    "/api/v1/overview", tags=["recordings"], dependencies=[require_role(Role.IDENTIFY)], responses=error_responses()
)
def overview_fields(service: ServiceDependency, query: Annotated[OverviewFilter, Query()]) -> dict[str, Any]:
    """Return counts of recordings, detections and species, by time span, hour of the day and species.

    Each element of `spans` is a day, month or year (`unit`), from the day `first` to the day `last`. `hours[k][h]` has
    `n_detections` and `recorded_h` of `spans[k]` in the hour `h` (0 to 23), and `species[i].n_recordings[k]` is the
    number of recordings with a species in `spans[k]`. `top` are the species with the highest score in most recordings,
    with `common_name` and `n_recordings`. Detections count under the species that reviewers corrected, and not at all
    if reviewers rejected them. The other fields are those of `server.overview.Overview`.
    """
    result = read_overview(service.database, query.query())
    top = [{"common_name": name, "n_recordings": n} for name, n in result.top]
    return {**asdict(result), "recorded_h": round(result.recorded_h, 4), "top": top}


@router.get(
    "/api/v1/overview/events",
    tags=["recordings"],
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=EventSourceResponse,
    responses=error_responses(),
)
async def events(
    service: ServiceDependency,
    version: Annotated[
        str, Query(max_length=40, description="Field `version` of the overview that the client has.")
    ] = "",
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event that the client has received.")
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Stream an event `change` whenever the overview has changed; the event's id is the overview's new version.

    A client sends the version that it has as `version` or Last-Event-ID; Last-Event-ID takes precedence. Without
    either, the stream has one event with the present version, and ends. Else it ends after a minute, or when the server
    shuts down.
    """
    known = last_event_id or version
    yield ServerSentEvent(retry=RETRY_MS)
    for _ in range(round(MAX_STREAM_S / POLL_S)):
        if service.shutting_down.is_set():
            return
        current = await run_in_threadpool(_read_version, service)
        if current != known:
            yield ServerSentEvent(event="change", id=current, data={})
            if not known:
                return
            known = current
        await asyncio.sleep(POLL_S)


def _read_version(service: Service) -> str:
    with service.database.read() as session:
        return read_version(session)
