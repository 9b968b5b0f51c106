"""HTTP requests of the command line to a running Dawn Chorus server."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from typing import Any

from dawnchorus.errors import DownloadError, InputError
from dawnchorus.version import __version__

DEFAULT_SERVER = "http://127.0.0.1:5000"
TOKEN_VARIABLE = "DAWNCHORUS_TOKEN"  # noqa: S105 - its name
TIMEOUT_S = 120
"""Timeout of a request; a server responds to a roll-back only after it has loaded the model."""

MAX_REPLY = 1 << 20
"""Maximum size of a response in bytes."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Handler that rejects redirects: a redirected POST would become a GET, and send the token to another host."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


def request_json(method: str, server: str, path: str, *, fields: tuple[str, ...]) -> dict[str, Any]:
    """Send a request without a body to the server, and return the JSON object of the response.

    The token in $DAWNCHORUS_TOKEN, if set, is sent with the request.

    Args:
        method: HTTP method.
        server: URL of the server.
        path: path of the resource on the server, beginning with a slash.
        fields: keys that the response must have.

    Raises:
        InputError: `server` does not begin with `http://` or `https://`.
        DownloadError: the server cannot be reached, rejected the request, or its response is no JSON object with
            `fields`.
    """
    if not server.startswith(("http://", "https://")):
        raise InputError(f"--server: expected a URL such as {DEFAULT_SERVER}, got {server!r}.")
    headers = {"User-Agent": f"dawnchorus/{__version__}", "Accept": "application/json"}
    if token := os.environ.get(TOKEN_VARIABLE):
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(server.rstrip("/") + path, method=method, headers=headers)  # noqa: S310
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as reply:
            fields_ = json.loads(reply.read(MAX_REPLY))
    except urllib.error.HTTPError as error:
        raise DownloadError(_refusal(server, error), error.code) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"{server}: the server cannot be reached ({reason}). Is it running?", None) from None
    except ValueError:  # no JSON, or no URL
        fields_ = None
    if not isinstance(fields_, dict) or not fields_.keys() >= set(fields):
        raise DownloadError(f"{server}{path}: expected the reply of a Dawn Chorus server, got another one.", None)
    return fields_


def _refusal(server: str, error: urllib.error.HTTPError) -> str:
    """Return the error message in a server's response, or else its status, with advice."""
    try:
        detail = json.loads(error.read(MAX_REPLY))["detail"]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        detail = f"{error.code} {error.reason}"
    hint = ""
    if error.code in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        hint = f" Set ${TOKEN_VARIABLE} to the server's token that allows everything."
    elif error.code in (301, 302, 303, 307, 308):
        hint = f" It redirects to {error.headers.get('Location')}: give that server's URL with --server."
    return f"{server}: {detail}{hint}"
