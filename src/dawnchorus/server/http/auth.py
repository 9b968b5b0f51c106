"""Authentication by tokens and session cookies, authorization by roles, and rate limits.

A server without tokens only listens on this machine, and gives every client all permissions.
"""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from fastapi import Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from dawnchorus.server.http.error_handlers import is_page, problem_response
from dawnchorus.server.http.json_bodies import refuse_other_body
from dawnchorus.server.http.parameters import note_unknown_query, refuse_unknown_query
from dawnchorus.server.settings import Role, Settings
from dawnchorus.server.state.sessions import SessionStore

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

STATIC = "/static"
"""Path of the static files, which need no token."""

COOKIE, CSRF_HEADER, CSRF_FIELD = "dawnchorus_session", "x-csrf-token", "csrf"
"""Names of the session cookie, and of the header and the form field with the CSRF token."""

LOG_IN = "expected the header 'Authorization: Bearer TOKEN' with one of the server's tokens, or a login on its page."

BURST_S = 5.0
"""Maximum burst of requests, in seconds: a client may send the requests of this time at once."""

MAX_CLIENTS = 10_000
"""Number of clients of a `RateLimiter` above which clients with a full burst are removed from memory."""

MAX_WRONG_TOKENS, WRONG_TOKENS_PER_S = 20, 20 / 60
"""Maximum burst and rate of one client's wrong tokens; further wrong tokens get status 429 instead of 401."""


BEARER = HTTPBearer(auto_error=False, description="A token of the server. A server without tokens needs none.")


class RouteRole:
    """Route dependency that requires a role, and refuses parameters and bodies that the route does not read.

    A client without a token or session gets the status 401, a client with a lower role 403; the roles in rising order
    are PUBLIC, IDENTIFY, TRAIN and ADMIN, each with the permissions of those before it. `Authorizer` uses
    `is_probe` and `is_form` before the route is called.

    Args:
        role: minimum role of the client.
        is_probe: True for a health check of load balancers, which may send any Host header.
        is_form: True for the target of an HTML form, which has the CSRF token in a field instead of a header.
        is_page: True for an HTML page, which shows a note on unknown parameters instead of an error.
    """

    def __init__(self, role: Role, *, is_probe: bool, is_form: bool, is_page: bool) -> None:
        self.role = role
        self.is_page = is_page
        """True for an HTML page, which shows a note on unknown parameters in its URL instead of an error."""
        self.is_probe = is_probe
        """True for a health check of load balancers, which may send any Host header."""
        self.is_form = is_form
        """True for the target of an HTML form, which has the CSRF token in a field instead of a header.

        The route calls `check_form`, except for the login form, which has an access token instead.
        """

    async def __call__(self, request: Request) -> None:  # async, since sync dependencies run in a thread
        """Check the role, the query parameters and the body of a request.

        Raises:
            HTTPException: 401 without a token or session, 403 if the client's role is below `role`.
            InputError: the route does not read a parameter or the body.
        """
        if request.state.role is Role.PUBLIC and self.role > Role.PUBLIC:
            raise HTTPException(401, LOG_IN, {"WWW-Authenticate": "Bearer"})
        if request.state.role < self.role:
            granted = request.state.role.name.lower()
            raise HTTPException(
                403, f"expected a token of the role '{self.role.name.lower()}', got one of '{granted}'."
            )
        (note_unknown_query if self.is_page else refuse_unknown_query)(request)
        refuse_other_body(request)


class TokenRole(RouteRole):
    """Route dependency for roles above PUBLIC: a `RouteRole` that adds the bearer token to the OpenAPI description."""

    async def __call__(self, request: Request, _token: Annotated[object, Security(BEARER)] = None) -> None:
        """Check a request like `RouteRole`; `Authorizer` has read the token and set the role."""
        await super().__call__(request)


def require_role(role: Role, *, is_probe: bool = False, is_form: bool = False, is_page: bool = False) -> Any:
    """Return a dependency, for `dependencies=` of a route, that requires `role` or a higher role.

    `RouteRole` describes the roles and the other arguments.
    """
    kind = RouteRole if role is Role.PUBLIC else TokenRole
    return Depends(kind(role, is_probe=is_probe, is_form=is_form, is_page=is_page))


def find_role(route: APIRoute) -> RouteRole | None:
    """Return the dependency of a route that `require_role` made; None if the route has none."""
    return next((each.dependency for each in route.dependencies if isinstance(each.dependency, RouteRole)), None)


def roles_by_path(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], RouteRole]:
    """Return the dependency that `require_role` made for each route, by the route's HTTP method and path pattern.

    Routes without such a dependency are left out.
    """
    return {
        (method, route.path): role
        for route in routes
        if isinstance(route, APIRoute) and (role := find_role(route)) is not None
        for method in route.methods or ()
    }


class RateLimiter:
    """Limit of events per second for each client, with bursts (token bucket); thread-safe.

    The package `limits` is not used, since its storage in memory never removes clients.

    Args:
        per_s: events per second that each client may have on average.
        burst: number of events that a client may have at once; less than 1 counts as 1.
        clock: monotonic clock in seconds.
    """

    def __init__(self, *, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s, self._burst, self._clock = per_s, max(burst, 1.0), clock
        self._remaining: dict[str, tuple[float, float]] = {}
        """Remaining events by client, and the time at which this number was right."""
        self._lock = threading.Lock()

    def acquire(self, client: str) -> float:
        """Count an event of a client, and return 0 if the event is allowed, else the seconds until it would be allowed.

        An event that is not allowed is not counted, so that waiting is not prolonged by further attempts. `client` is
        any text that identifies the client, such as its IP address.
        """
        now, full_s = self._clock(), self._burst / self.per_s
        with self._lock:
            if len(self._remaining) > MAX_CLIENTS:  # clients that paused for so long have the full burst again
                self._remaining = {who: (n, at) for who, (n, at) in self._remaining.items() if now - at < full_s}
            left, at = self._remaining.get(client, (self._burst, now))
            left = min(left + (now - at) * self.per_s, self._burst) - 1
            if left < 0:
                return -left / self.per_s
            self._remaining[client] = left, now
            return 0.0


class Authorizer:
    """Authorization of all requests, with limits on each client's requests and wrong tokens.

    Args:
        settings: tokens with their roles, host names and rate limit of the server.
        sessions: login sessions.
        roles: result of `roles_by_path` for the routes of the application.
    """

    def __init__(self, settings: Settings, sessions: SessionStore, roles: Mapping[tuple[str, str], RouteRole]) -> None:
        self._tokens, self._hosts, self._sessions, self._roles = settings.tokens, settings.own_hosts, sessions, roles
        per_s = settings.requests_per_s
        self._requests = None if per_s is None else RateLimiter(per_s=per_s, burst=per_s * BURST_S)
        self._wrong_tokens = RateLimiter(per_s=WRONG_TOKENS_PER_S, burst=MAX_WRONG_TOKENS)

    @property
    def is_open(self) -> bool:
        """True if the server has no tokens; then only this machine can connect, and clients need no token."""
        return not self._tokens

    async def check(self, request: Request) -> Response | None:
        """Return an error response if the request is not allowed, else None.

        The status is 400 for a NUL character in the URL, 401 for a wrong token, 421 for another host name, and 429 for
        too many requests or wrong tokens; with a method that is not in `SAFE_METHODS`, also 401 without a token or
        session, and 403 for a cross-origin request or a missing CSRF token.

        Sets `request.state.role` to the client's role, and `request.state.csrf` to the CSRF token of the session (""
        without a session). `RouteRole` then checks whether the route allows this role.

        A server without tokens only listens on this machine, and gives every client that can connect the role ADMIN.
        Such a server checks the Host header against DNS rebinding: pages of another site whose host name resolves to
        127.0.0.1 send this name. Cross-origin requests are recognized by headers that the browser sets and a page
        cannot change.
        """
        request.state.role, request.state.csrf = Role.PUBLIC, ""
        query = "" if is_page(request) else request.scope["query_string"].decode("latin-1")  # pages note it themselves
        if "\0" in unquote(request.scope["path"] + query):
            return problem_response(400, "expected no NUL character in the URL.")
        if request.method not in SAFE_METHODS and _is_cross_origin(request):
            return problem_response(403, "cross-origin request rejected.")
        if self.is_open:
            if await _is_host_trusted(self._hosts, request):
                request.state.role = Role.ADMIN
            elif (route := self._find_route(request)) is None or not route.is_probe:
                names = " or ".join(self._hosts)
                return problem_response(421, f"expected the host {names}; another name needs a server with a token.")
            return self._check_rate(request)
        return await self._authenticate(request) or self._check_rate(request)

    def _find_route(self, request: Request) -> RouteRole | None:
        """Return the requirements of the request's route; None for paths with parameters, and for unknown paths."""
        method = "GET" if request.method == "HEAD" else request.method
        return self._roles.get((method, own_path(request)))

    def _is_public(self, request: Request) -> bool:
        route = self._find_route(request)
        return route is not None and route.role is Role.PUBLIC

    def _check_rate(self, request: Request) -> Response | None:
        """Return an error response if the client exceeds the rate of requests that change something, else None."""
        if request.method in SAFE_METHODS:
            return None
        if self._requests is not None and (wait_s := self._requests.acquire(_client(request))):
            return _refuse_rate(
                f"expected at most {self._requests.per_s:g} requests per second. Wait a little.", wait_s
            )
        return None

    async def _authenticate(self, request: Request) -> Response | None:
        """Set the role by the token or the session cookie.

        Return an error response for an invalid token, and for a request without token and session if its method is not
        in `SAFE_METHODS` and its route requires a role.
        """
        given = await BEARER(request)
        if given is not None:
            return self._check_token(request, given.credentials)
        if COOKIE in request.cookies:
            return await self._check_cookie(request)
        if request.method not in SAFE_METHODS and not self._is_public(request):
            return problem_response(401, LOG_IN, headers={"WWW-Authenticate": "Bearer"})
        return None

    def log_in(self, request: Request, token: str) -> str | None:
        """Start a session with an access token of the server, and return the value of the session's cookie.

        None if the token is not valid. Wrong tokens of a client are counted, since `check` limits their number; a valid
        token is accepted whatever this number is.
        """
        return None if self._check_token(request, token) is not None else self._sessions.start(token)

    async def log_out(self, request: Request) -> None:
        """End the session of the request's cookie on all servers that share the database; do nothing without one."""
        session = await run_in_threadpool(self._sessions.find, request.cookies.get(COOKIE, ""))
        if session is not None:
            await run_in_threadpool(self._sessions.end, session)

    def _check_token(self, request: Request, given: str) -> Response | None:
        roles = [role for token, role in self._tokens.items() if _is_same(given, token)]
        if roles:
            request.state.role = max(roles)
            return None
        too_many = self._count_wrong_token(request)
        return too_many or problem_response(401, LOG_IN, headers={"WWW-Authenticate": "Bearer"})

    def _count_wrong_token(self, request: Request) -> Response | None:
        """Count a wrong token of the client, and return an error response (429) if there were too many recently."""
        wait_s = self._wrong_tokens.acquire(_client(request))
        return _refuse_rate("too many wrong tokens. Wait a little.", wait_s) if wait_s else None

    async def _check_cookie(self, request: Request) -> Response | None:
        session = await run_in_threadpool(self._sessions.find, request.cookies[COOKIE])
        if session is None:
            # A client with an expired cookie must be able to log in.
            is_open = self._is_public(request) or own_path(request).startswith(f"{STATIC}/")
            return None if is_open else self._count_wrong_token(request)
        request.state.role, request.state.csrf = self._tokens[session.token], session.csrf
        if request.method in SAFE_METHODS:
            return None
        route = self._find_route(request)
        is_valid = _is_same(request.headers.get(CSRF_HEADER, ""), session.csrf)
        if is_valid or (route is not None and route.is_form):
            return None
        return problem_response(403, f"expected the header '{CSRF_HEADER}' of the page.")


def _refuse_rate(detail: str, wait_s: float) -> Response:
    return problem_response(429, detail, headers={"Retry-After": f"{math.ceil(wait_s)}"})


def check_form(request: Request, given: str) -> None:
    """Check the CSRF token of a form if the client has a session; other clients need none.

    Args:
        request: request with the form.
        given: value of the form's field `CSRF_FIELD`; a valid token in the header `CSRF_HEADER` is accepted as well.

    Raises:
        HTTPException: 403, if neither the field nor the header has the session's token.
    """
    csrf = request.state.csrf
    if csrf and not _is_same(given, csrf) and not _is_same(request.headers.get(CSRF_HEADER, ""), csrf):
        raise HTTPException(403, "this form has expired, or is from another site. Load the page again.")


def own_path(request: Request) -> str:
    """Return the URL path of the request without the root path at which a proxy mounts the server."""
    path: str = request.scope["path"]
    base = request.scope.get("root_path", "")
    return path.removeprefix(base) if base and path.startswith(f"{base}/") else path


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _client(request: Request) -> str:
    """Return the client's IP address; uvicorn reads it from the header of a trusted proxy."""
    return request.client.host if request.client else ""


async def _is_host_trusted(hosts: Sequence[str], request: Request) -> bool:
    """Return True if Starlette's middleware accepts the Host header for `hosts`."""
    app = _AcceptingApp()
    await TrustedHostMiddleware(app, hosts, www_redirect=False)(request.scope, request.receive, _discard)
    return app.is_reached


class _AcceptingApp:
    """ASGI application that notes whether Starlette's middleware has passed a request on to it."""

    is_reached = False

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        self.is_reached = True


async def _discard(_message: Message) -> None:
    return


def _is_cross_origin(request: Request) -> bool:
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = request.headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    except ValueError:
        return True
