"""Access control: everything is allowed on this machine; elsewhere a token decides."""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import Depends, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Message

from dawnchorus.server.http.error_handlers import problem
from dawnchorus.server.http.json_bodies import refuse_other_body
from dawnchorus.server.http.parameters import refuse_unknown_query
from dawnchorus.server.http.uploads import announced_bytes
from dawnchorus.server.settings import Role, Settings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

FORM_ROUTES = ("/", "/login", "/logout")
"""Pages whose forms work without scripts."""

COOKIE, CSRF_HEADER, CSRF_FIELD = "dawnchorus_session", "x-csrf-token", "csrf"

UPLOAD_ROUTES = ("/", "/api/predict", "/api/upload_bulk", "/api/v1/identify", "/api/v1/lessons")
INFER = "/infer"
"""Suffix of routes that take samples as text."""

MAX_BODY = 64 << 10
"""Bytes of a body that is no recording."""

LOG_IN = "expected the header 'Authorization: Bearer TOKEN' with one of the server's tokens, or a log in on its page."

BURST_S = 5.0
"""Seconds of a client's allowance that may be used at once."""

MAX_CLIENTS = 10_000

HEALTH_ROUTES = ("/api/v1/health/live", "/api/v1/health/ready", "/v2/health/live", "/v2/health/ready")
"""Load balancers ask by any name."""

MAX_FAILURES, FAILURES_S = 20, 60.0
"""After so many wrong tokens in so many seconds, wrong ones of the address are not even looked up; right ones pass."""


def needs(role: Role) -> Any:
    """Return a dependency of a route that requires a role, and then refuses what the route does not read."""

    async def check(request: Request) -> None:  # what is not async takes a turn on a thread
        if request.state.role is Role.OPEN and role > Role.OPEN:
            raise HTTPException(401, LOG_IN, {"WWW-Authenticate": "Bearer"})
        if request.state.role < role:
            raise HTTPException(403, f"expected a token that allows to {role.name.lower()}; this one does not.")
        refuse_unknown_query(request)
        refuse_other_body(request)

    check.role = role  # type: ignore[attr-defined]
    return Depends(check)


def role_of_route(route: Any) -> Role | None:
    """Return the role that a route requires; None if it states none."""
    roles = [d.call.role for d in route.dependant.dependencies if hasattr(d.call, "role")]
    return max(roles, default=None)


class Allowances:
    """A limit of requests per second for each client, with bursts (a token bucket)."""

    def __init__(self, per_s: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s, self._clock = per_s, clock
        self._left: dict[str, tuple[float, float]] = {}
        """By client: the rest of its allowance, and the time of that."""
        self._lock = threading.Lock()

    def take(self, client: str) -> float:
        """Count a request; the seconds to wait if it is too early, else 0."""
        if self.per_s is None:
            return 0.0
        most, now = max(self.per_s * BURST_S, 1.0), self._clock()
        with self._lock:
            if len(self._left) > MAX_CLIENTS:  # those who have been silent may send all again, as new ones may
                self._left = {who: (n, at) for who, (n, at) in self._left.items() if now - at < BURST_S}
            left, at = self._left.get(client, (most, now))
            left = min(left + (now - at) * self.per_s, most) - 1
            if left < 0:
                return -left / self.per_s
            self._left[client] = left, now
            return 0.0


class Access:
    """Decides for each request, and remembers who has guessed."""

    def __init__(self, settings: Settings) -> None:
        self._tokens, self._hosts = settings.tokens, settings.own_hosts
        self._allowances = Allowances(settings.requests_per_s)
        self._failures: dict[str, deque[float]] = {}
        """Times of the latest wrong tokens, by client."""
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """No token is needed; only this machine can ask."""
        return not self._tokens

    async def refusal(self, request: Request) -> Response | None:
        """Return the reply to a request that is not allowed; None where it is, with `request.state.role` set.

        Without a token the server listens on this machine only, and so everybody who reaches it may do everything: no
        part of a request gives a right. The Host header can only take it away, since a page of somebody's that resolves
        its own name to 127.0.0.1 (DNS rebinding) sends that name. What another site's page sends is refused by what
        the browser says of it, which a page cannot change.
        """
        request.state.role, request.state.csrf = Role.OPEN, ""
        if "\0" in unquote(request.scope["path"] + request.scope["query_string"].decode("latin-1")):
            return problem(400, "expected no NUL character in the address.")
        if request.method not in SAFE_METHODS and _is_foreign(request):
            return problem(403, "a page of another site sent this request.")
        if self.is_open:
            if await _is_sent_to(self._hosts, request):
                request.state.role = Role.OPERATE
            elif own_path(request) not in HEALTH_ROUTES:
                names = " or ".join(self._hosts)
                return problem(421, f"expected the host {names}; another name needs a server with a token.")
            return self._too_much(request)
        return self._who(request) or self._too_much(request)

    def _too_much(self, request: Request) -> Response | None:
        """Return the reply to a client that sends too often; see also the limits of recordings."""
        if request.method in SAFE_METHODS:
            return None
        wait_s = self._allowances.take(_client(request))
        if wait_s:
            detail = f"expected at most {self._allowances.per_s:g} requests per second. Wait a little."
            return problem(429, detail, headers={"Retry-After": f"{math.ceil(wait_s)}"})
        return _too_large(request)

    def _who(self, request: Request) -> Response | None:
        """Find out the role of the one who asks; who has none may only look for where to log in."""
        given = _bearer(request)
        if given is not None:
            return self._by_token(request, given)
        if COOKIE in request.cookies:
            return self._by_cookie(request)
        if request.method not in SAFE_METHODS and own_path(request) != "/login":
            return problem(401, LOG_IN, headers={"WWW-Authenticate": "Bearer"})
        return None

    def log_in(self, request: Request, token: str) -> str | None:
        """Return the cookie for a page's reader who knows a token; None for others."""
        refused = self._by_token(request, token)
        return None if refused else _signed(token, "session")

    def _by_token(self, request: Request, given: str) -> Response | None:
        host = _client(request)
        for token, role in self._tokens.items():
            if hmac.compare_digest(given.encode(), token.encode()):
                request.state.role = max(request.state.role, role)
        return None if request.state.role > Role.OPEN else self._wrong(host)

    def _wrong(self, host: str) -> Response:
        """Return the reply to a wrong token."""
        return self._too_many() if self._count(host) else problem(401, LOG_IN, headers={"WWW-Authenticate": "Bearer"})

    def _too_many(self) -> Response:
        return problem(429, "too many wrong tokens. Wait a minute.", headers={"Retry-After": f"{FAILURES_S:.0f}"})

    def _count(self, host: str) -> bool:
        """Remember a wrong token; whether there were too many of late."""
        now = time.monotonic()
        with self._lock:
            if len(self._failures) > MAX_CLIENTS:
                self._failures = {who: at for who, at in self._failures.items() if at[-1] > now - FAILURES_S}
            failures = self._failures.setdefault(host, deque(maxlen=MAX_FAILURES))
            if len(failures) == MAX_FAILURES and failures[0] > now - FAILURES_S:
                return True
            failures.append(now)
            return False

    def _by_cookie(self, request: Request) -> Response | None:
        for token, role in self._tokens.items():
            if _is_same(request.cookies[COOKIE], _signed(token, "session")):
                request.state.role, request.state.csrf = role, _signed(token, "csrf")
        if request.state.role is Role.OPEN:
            path = own_path(request)  # who has an old one must be able to log in
            is_page = path in ("/login", "/logout") or path.startswith("/static/")
            return None if is_page or not self._count(_client(request)) else self._too_many()
        if request.method in SAFE_METHODS:
            return None
        # A form that is sent without scripts brings it as a field: see `check_form`.
        is_right = _is_same(request.headers.get(CSRF_HEADER, ""), request.state.csrf)
        if is_right or own_path(request) in FORM_ROUTES:
            return None
        return problem(403, f"expected the header '{CSRF_HEADER}' of the page.")


def check_form(request: Request, given: str) -> None:
    """Refuse a form that is not from a page of ours; only needed where a cookie, not a header, says who it is from."""
    csrf = request.state.csrf
    if csrf and not _is_same(given, csrf) and not _is_same(request.headers.get(CSRF_HEADER, ""), csrf):
        raise HTTPException(403, "this form is out of date, or not ours. Load the page again.")


def own_path(request: Request) -> str:
    """Return the path without the prefix at which a proxy shows the server."""
    path: str = request.scope["path"]
    base = request.scope.get("root_path", "")
    return path.removeprefix(base) if base and path.startswith(f"{base}/") else path


def _too_large(request: Request) -> Response | None:
    """Only recordings are large, and those routes count what comes; other bodies are read as a whole."""
    path = own_path(request)
    if request.method in SAFE_METHODS or path in UPLOAD_ROUTES or path.endswith(INFER):
        return None
    if not {"content-length", "transfer-encoding"} & set(request.headers):
        return None  # there is none
    announced = announced_bytes(request)
    if announced is not None and announced <= MAX_BODY:
        return None
    return problem(413, f"expected a body of at most {MAX_BODY} bytes, and its length in advance.")


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _client(request: Request) -> str:
    """Return the client's address; as a proxy gives it only where the server was told to trust that proxy."""
    return request.client.host if request.client else ""


async def _is_sent_to(hosts: Sequence[str], request: Request) -> bool:
    """Return True if the Host header is one of `hosts`, as Starlette's middleware reads it."""
    is_trusted = False

    async def note(*_: object) -> None:
        nonlocal is_trusted
        is_trusted = True

    async def discard(_: Message) -> None:
        return

    await TrustedHostMiddleware(note, hosts, www_redirect=False)(request.scope, request.receive, discard)
    return is_trusted


def _is_foreign(request: Request) -> bool:
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = request.headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    except ValueError:
        return True


def _bearer(request: Request) -> str | None:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return given if kind.lower() == "bearer" else None


def _signed(token: str, purpose: str) -> str:
    return hmac.new(token.encode(), f"dawnchorus {purpose}".encode(), "sha256").hexdigest()
