"""Forms of pages, which work without scripts."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

from dawnchorus.server.http.parameters import refuse_repeated
from dawnchorus.server.http.uploads import read_body

MAX_FORM_BYTES = 4096


async def read_form(request: Request) -> dict[str, str]:
    """Read a small form.

    Raises:
        InputError: a field comes twice.
    """
    body = await read_body(request, max_bytes=MAX_FORM_BYTES)
    fields = parse_qsl(body.decode("utf-8", "replace"))
    refuse_repeated([(name, "not shown") for name, _ in fields], "field")  # a token is no text for messages
    return dict(fields)
