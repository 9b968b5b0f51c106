"""Ids of reviewers: a random id for each browser in a cookie.

By the id, a browser can undo its own answers, and is warned before it replaces an answer of another browser.
"""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from fastapi import Depends, Request, Response

COOKIE = "dawnchorus_reviewer"

MAX_AGE_S = 365 * 86_400


async def find_reviewer(request: Request) -> str | None:  # async, since sync dependencies run in a thread
    """Return the reviewer id in the request's cookie; None if there is no cookie or no valid id in it."""
    given = request.cookies.get(COOKIE, "")
    return given if re.fullmatch("[0-9a-f]{32}", given) else None


Reviewer = Annotated[str | None, Depends(find_reviewer)]


def remember_reviewer(request: Request, response: Response, reviewer: str | None) -> Response:
    """Return the same response; a cookie with a new reviewer id is set on it if the browser has no id yet.

    Args:
        request: the request.
        response: response to the request.
        reviewer: result of `find_reviewer`; None if the browser has no id.
    """
    if reviewer is None:
        is_secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, secrets.token_hex(16), httponly=True, samesite="strict", secure=is_secure, max_age=MAX_AGE_S
        )
    return response
