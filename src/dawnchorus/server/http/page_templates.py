"""Rendering of the HTML pages from their templates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dawnchorus.identification.options import DEFAULT_MIN_SCORE
from dawnchorus.server.http.auth import own_path
from dawnchorus.server.settings import Role

HEAT_STEPS = 5
"""Colors of the cells of tables that are shown as heat maps."""


def render_page(
    template: str,
    request: Request,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response:
    """Return a page, with the notes on its address that `parameters.PageQuery` left."""
    service = request.app.state.service
    common = {
        "error": None,
        "notes": getattr(request.state, "notes", []),
        "base": request.scope.get("root_path", "").rstrip("/"),
        "here": own_path(request),
        "csrf": request.state.csrf,
        "is_admin": request.state.role >= Role.ADMIN,
        "bundle": service.pool.bundle,
        "min_score": DEFAULT_MIN_SCORE,
    }
    content = _PAGES.get_template(template).render({**common, **values})
    return HTMLResponse(content, status, headers={"Cache-Control": "no-store", **(headers or {})})


def redirect(request: Request, path: str) -> Response:
    """Return a redirection to a path of this server, below that of its proxy."""
    return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + path, 303)


def format_duration(seconds: float) -> str:
    """Return a length as hours, minutes and seconds: 1:02:03, or 0:04.5 if it is short."""
    if seconds < 60:
        return f"0:{seconds:04.1f}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def format_day(day: date) -> str:
    """Return a day for readers, without its year: 12 May."""
    return f"{day.day} {day:%b}"


def format_month(day: date) -> str:
    """Return the month of a day for readers: May 2026."""
    return f"{day:%b} {day.year}"


def heat_step(n: int, most: int) -> int:
    """Return the logarithmic step, from 1 to `HEAT_STEPS`, of a number in a table whose highest number is `most`."""
    return 1 + min(int(HEAT_STEPS * math.log(n) / math.log(most + 1)), HEAT_STEPS - 1)


def format_moment(text: str) -> str:
    """Return a time in ISO 8601 for readers: 12 May 2026, 04:00."""
    moment = datetime.fromisoformat(text)
    return f"{moment.day} {moment:%b %Y, %H:%M}"


_PAGES = Environment(
    loader=PackageLoader("dawnchorus.server.http", "templates"), autoescape=True, undefined=StrictUndefined
)
_PAGES.filters |= {
    "duration": format_duration,
    "moment": format_moment,
    "day": format_day,
    "month": format_month,
    "heat_step": heat_step,
}
