"""Rendering of the HTML pages from their templates."""

from __future__ import annotations

from datetime import datetime

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dawnchorus.identification.options import DEFAULT_MIN_SCORE
from dawnchorus.server.http.auth import own_path
from dawnchorus.server.settings import Role


def render_page(template: str, request: Request, *, status: int = 200, **values: object) -> Response:
    """Return a page."""
    service = request.app.state.service
    common = {
        "error": None,
        "base": request.scope.get("root_path", "").rstrip("/"),
        "here": own_path(request),
        "csrf": request.state.csrf,
        "is_admin": request.state.role >= Role.ADMIN,
        "bundle": service.pool.bundle,
        "min_score": DEFAULT_MIN_SCORE,
    }
    content = _PAGES.get_template(template).render({**common, **values})
    return HTMLResponse(content, status, headers={"Cache-Control": "no-store"})


def redirect(request: Request, path: str) -> Response:
    """Return a redirection to a path of this server, below that of its proxy."""
    return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + path, 303)


def format_duration(seconds: float) -> str:
    """Return a length as hours, minutes and seconds: 1:02:03, or 0:04.5 if it is short."""
    if seconds < 60:
        return f"0:{seconds:04.1f}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def format_moment(text: str) -> str:
    """Return a time in ISO 8601 for readers: 12 May 2026, 04:00."""
    moment = datetime.fromisoformat(text)
    return f"{moment.day} {moment:%b %Y, %H:%M}"


_PAGES = Environment(
    loader=PackageLoader("dawnchorus.server.http", "templates"), autoescape=True, undefined=StrictUndefined
)
_PAGES.filters |= {"duration": format_duration, "moment": format_moment}
