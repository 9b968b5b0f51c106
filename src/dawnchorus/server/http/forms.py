"""Reading of small HTML forms without files (`application/x-www-form-urlencoded`)."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

from dawnchorus.server.http.parameters import refuse_repeated
from dawnchorus.server.http.uploads import read_body

MAX_FORM_BYTES = 4096
"""Maximum size of a form's body."""


async def read_form(request: Request) -> dict[str, str]:
    """Read the form in the body of a request, and return the fields' values by name, without fields of empty value.

    Raises:
        InputError: a field is repeated.
        UploadTooLargeError: the body has more than `MAX_FORM_BYTES`.
        UploadTooSlowError: the body arrives too slowly (`uploads.PacedBody`).
    """
    body = await read_body(request, max_bytes=MAX_FORM_BYTES)
    fields = parse_qsl(body.decode("utf-8", "replace"))
    refuse_repeated([(name, "not shown") for name, _ in fields], "field")  # a token is no text for messages
    return dict(fields)
