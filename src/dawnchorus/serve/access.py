"""Who may ask: by default programs and people on this machine; elsewhere those who have the token."""

from __future__ import annotations

import hmac

from fastapi import Request, Response

from dawnchorus.serve.problems import problem
from dawnchorus.serve.settings import Settings, is_loopback

OPEN_ROUTES = ("/api/v1/health/live", "/api/v1/health/ready")
"""Asked by load balancers, which have no token."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def refusal(request: Request, settings: Settings) -> Response | None:
    """The reply to a request that may not be carried out; None where it may.

    Without a token, only this machine's own names are answered to: a page of somebody's that resolves its own name to
    127.0.0.1 (DNS rebinding) is not on this machine. What another site's page sends is refused by the browser's word,
    which a page cannot change; the word is never a permission.
    """
    if request.url.path in OPEN_ROUTES:
        return None
    if request.method not in SAFE_METHODS and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return problem(403, "a page of another site sent this request.")
    if settings.token is not None:
        if _has_token(request, settings.token):
            return None
        detail = "expected the header 'Authorization: Bearer TOKEN' with the server's token."
        return problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
    if not is_loopback(request.url.hostname or ""):
        return problem(421, "expected the host 127.0.0.1 or localhost; another name needs a server with a token.")
    return None


def _has_token(request: Request, token: str) -> bool:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())
