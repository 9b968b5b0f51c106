"""Texts of HTML error pages: what happened, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

Link = tuple[str, str]
"""Path on this server, and text of the link."""

HOME: Link = ("/", "Identify birds in recordings")
RECORDINGS: Link = ("/recordings", "All recordings")
SYSTEM: Link = ("/system", "State of the server")

AGAIN = "Go back in your browser to try again; nothing was changed."


@dataclass(frozen=True)
class ErrorText:
    """Text of an error page: heading, advice as a sentence, and links to other pages."""

    heading: str
    """Heading that says what happened."""
    advice: str
    """Sentence that says what to do next."""
    links: tuple[Link, ...] = (HOME,)
    """Links to other pages: path on this server, and text of the link."""


_MISSING = {
    "/recordings/": ErrorText(
        "Recording not found", "If it was here before, somebody has deleted it.", (RECORDINGS, HOME)
    ),
    "/jobs/": ErrorText(
        "Job not found", "It may have been deleted; a recording that it stored stays.", (RECORDINGS, SYSTEM)
    ),
}
"""Texts for status 404 by the start of the path."""

_TEXTS = {
    HTTPStatus.BAD_REQUEST: ErrorText("This request cannot be used", "Correct what is named below, and try again."),
    HTTPStatus.FORBIDDEN: ErrorText(
        "Not allowed", "Log in with a token of another role.", (("/login", "Log in"), HOME)
    ),
    HTTPStatus.NOT_FOUND: ErrorText("Page not found", "Check the address, or go on from here.", (HOME, RECORDINGS)),
    HTTPStatus.METHOD_NOT_ALLOWED: ErrorText("This address cannot be used like that", "Go on from here."),
    HTTPStatus.REQUEST_TIMEOUT: ErrorText(
        "The upload took too long", "Try again, on a better connection or with a smaller file."
    ),
    HTTPStatus.CONFLICT: ErrorText("Not possible now", "The reason is below.", (HOME, SYSTEM)),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorText(
        "Too large", "Send a smaller or shorter file, or ask who runs this server for higher limits."
    ),
    HTTPStatus.MISDIRECTED_REQUEST: ErrorText("This is not the name of this server", "Use the address below."),
    HTTPStatus.UNPROCESSABLE_ENTITY: ErrorText("This cannot be used", "Correct what is named below, and try again."),
    HTTPStatus.TOO_MANY_REQUESTS: ErrorText("Too many requests", AGAIN),
    HTTPStatus.INTERNAL_SERVER_ERROR: ErrorText(
        "The server failed",
        "Try again. If that fails too, tell the id below to who runs this server: the log has more under it.",
        (HOME, SYSTEM),
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ErrorText("The server is busy", AGAIN, (HOME, SYSTEM)),
    HTTPStatus.INSUFFICIENT_STORAGE: ErrorText(
        "The server has no space",
        "Nothing was stored. Recordings that nobody needs can be deleted.",
        (RECORDINGS, SYSTEM),
    ),
}


def describe_error(status: int, path: str) -> ErrorText:
    """Return the text of the error page for a status code.

    Args:
        status: HTTP status code.
        path: path of the request on this server; only used for the status 404.
    """
    if status == HTTPStatus.NOT_FOUND:
        for beginning, text in _MISSING.items():
            if path.startswith(beginning):
                return text
    return _TEXTS.get(HTTPStatus(status)) or ErrorText(HTTPStatus(status).phrase, "Go on from here.")
