"""Rendering of the HTML pages from Jinja templates, and formats of values in pages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dawnchorus.identification.options import DEFAULT_MIN_SCORE
from dawnchorus.server.http.auth import own_path
from dawnchorus.server.settings import Role

NEXT = "next"
"""Parameter of the login page: the page to show after it."""

_OWN_PAGE = re.compile(r"/(?![/\\])[^\\\s\x00-\x1f]*")

HEAT_STEPS = 5
"""Number of colors in heat maps."""


def render_page(
    template: str,
    request: Request,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response:
    """Render an HTML page, with the notes on invalid URL parameters (`parameters.note`).

    Args:
        template: file name of the template.
        request: the request.
        status: HTTP status code.
        headers: additional headers by name, which may replace `Cache-Control: no-store`; None for no additional ones.
        values: values for the template by name, in addition to those of all pages, which they may replace: `error`
            (message), `notes`, `base` (root path), `here` (path), `csrf` (token), `may_train`, `is_admin`, `bundle` (of
            the active model) and `min_score` (default of identifications).
    """
    service = request.app.state.service
    common = {
        "error": None,
        "notes": getattr(request.state, "notes", []),
        "base": request.scope.get("root_path", "").rstrip("/"),
        "here": own_path(request),
        "csrf": request.state.csrf,
        "may_train": request.state.role >= Role.TRAIN,
        "is_admin": request.state.role >= Role.ADMIN,
        "bundle": service.pool.bundle,
        "min_score": DEFAULT_MIN_SCORE,
    }
    content = _PAGES.get_template(template).render({**common, **values})
    return HTMLResponse(content, status, headers={"Cache-Control": "no-store", **(headers or {})})


def redirect(request: Request, path: str) -> Response:
    """Return a redirection (303) to a path of this server, such as "/recordings"; the root path of a proxy is added."""
    return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + path, 303)


def redirect_to_login(request: Request) -> Response:
    """Return a redirection (303) to the login page, which leads back to the requested page."""
    path, query = own_path(request), request.url.query
    if request.method != "GET" or (path == "/" and not query):
        return redirect(request, "/login")
    return redirect(request, "/login?" + urlencode({NEXT: f"{path}?{query}" if query else path}))


def is_own_page(path: str) -> bool:
    """Return True if a path, with or without a query, is on this server; `//` leads browsers to another one."""
    return _OWN_PAGE.fullmatch(path) is not None


def format_duration(seconds: float) -> str:
    """Return a duration as text: "1:02:03", or "2:03" below an hour, or with tenths below a minute: "0:04.5"."""
    if round(seconds, 1) < 60:
        return f"0:{seconds:04.1f}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def format_day(day: date) -> str:
    """Return a day as text without its year: 12 May."""
    return f"{day.day} {day:%b}"


def format_month(day: date) -> str:
    """Return the month of a day as text: May 2026."""
    return f"{day:%b} {day.year}"


def heat_step(n: int, most: int) -> int:
    """Return the number of the color that shows `n` in a heat map, from 1 to `HEAT_STEPS`, on a logarithmic scale.

    Args:
        n: the value to show, from 1 to `most`.
        most: the highest value in the heat map.
    """
    return 1 + min(int(HEAT_STEPS * math.log(n) / math.log(most + 1)), HEAT_STEPS - 1)


def format_moment(text: str) -> str:
    """Return a time in ISO 8601 as readable text, with its time zone if it has one: 12 May 2026, 04:00 UTC+2."""
    moment = datetime.fromisoformat(text)
    return f"{moment.day} {moment:%b %Y, %H:%M}{_format_zone(moment)}"


def format_span(text: str, duration_s: float | None) -> str:
    """Return start and end of a recording as readable text: 12 May 2026, 04:00 to 06:00 UTC+2.

    An end on another day has its date: 12 May 2026, 23:00 to 13 May 2026, 01:00. The text has the start only if both
    are in the same minute. The time zone is left out if `text` has none.

    Args:
        text: start in ISO 8601.
        duration_s: length of the recording; None if unknown, which gives a text with the start only.
    """
    start = datetime.fromisoformat(text)
    try:
        end = start + timedelta(seconds=duration_s or 0.0)
    except OverflowError:  # a clock at the end of the calendar
        return format_moment(text)
    if end.replace(second=0, microsecond=0) == start.replace(second=0, microsecond=0):
        return format_moment(text)
    day = "" if end.date() == start.date() else f"{end.day} {end:%b %Y}, "
    return f"{start.day} {start:%b %Y, %H:%M} to {day}{end:%H:%M}{_format_zone(start)}"


def _format_zone(moment: datetime) -> str:
    """Return the time zone as text to append to a time, " UTC+2"; "" if it is not known."""
    offset = moment.utcoffset()
    if offset is None:
        return ""
    minutes = round(offset.total_seconds() / 60)
    if not minutes:
        return " UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f" UTC{'-' if minutes < 0 else '+'}{hours}{f':{rest:02d}' if rest else ''}"


def format_location(latitude: float, longitude: float) -> str:
    """Return coordinates in degrees as text, rounded to 0.01 degrees: 60.17° N, 24.94° E, or S and W."""
    north, east = "S" if latitude < 0 else "N", "W" if longitude < 0 else "E"
    return f"{abs(latitude):.2f}° {north}, {abs(longitude):.2f}° {east}"


_PAGES = Environment(
    loader=PackageLoader("dawnchorus.server.http", "templates"), autoescape=True, undefined=StrictUndefined
)
_PAGES.filters |= {
    "duration": format_duration,
    "moment": format_moment,
    "span": format_span,
    "day": format_day,
    "month": format_month,
    "heat_step": heat_step,
}
_PAGES.globals.update(location=format_location)
