"""Strict parsing of JSON bodies, without duplicate keys, NaN and infinity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from fastapi import Request
from fastapi.routing import APIRoute

from dawnchorus.errors import InputError
from dawnchorus.server.http.parameters import refuse_repeated
from dawnchorus.server.http.uploads import media_type

EMPTY_BODIES = (b"", b"{}", b"null")
"""Bodies without content, which some clients send with every request; routes without a body accept them."""


def refuse_other_body(request: Request) -> None:
    """Check the body and the Content-Type of a request to a `JsonRoute` (`routes.replies`).

    The body is the one that `JsonRoute` has set as `request.state.body`; a request without this attribute counts as one
    without a body. For a route that reads no body, `EMPTY_BODIES` ("", "{}" and "null") count as no body.

    Raises:
        InputError: the route reads no body and the request has one, or the Content-Type is not JSON.
    """
    body, route = getattr(request.state, "body", b""), request.scope.get("route")
    if not isinstance(route, APIRoute) or not body.strip():
        return
    if route.body_field is None:
        if body.strip() in EMPTY_BODIES:
            return
        raise InputError("expected no body: this endpoint does not read one.")
    kind = media_type(request)
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise InputError(
            f"expected a body in JSON with the Content-Type application/json, got {kind[:80] or 'no Content-Type'}."
        )


def parse_json(body: bytes) -> Any:
    """Parse a JSON body, and return its value.

    Raises:
        InputError: an object has a name twice (`json` would ignore the first value), or the body has NaN or Infinity,
            which are not in RFC 8259.
        ValueError: the body is not JSON.
        RecursionError: the body is nested too deeply.
    """
    return json.loads(body, object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    refuse_repeated(pairs, "field")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise InputError(f"expected a number or null, got {name}, which JSON does not have.")
