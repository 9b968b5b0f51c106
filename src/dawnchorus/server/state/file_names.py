"""File names in the requests of clients."""

from __future__ import annotations

from dawnchorus.audio.file_names import text_before_time

MAX_NAME = 255
"""Maximum length of a file name in bytes."""

UNNAMED = "upload"
"""Name of an uploaded file if the client sends none."""


def base_name(given: str) -> str:
    r"""Return a client's file name without folders, cut to `MAX_NAME` bytes; `UNNAMED` ("upload") if nothing is left.

    Both `/` and `\` separate folders. A name that is cut loses its suffix.
    """
    last = given.replace("\\", "/").rpartition("/")[2].replace("\0", "")
    return last.encode("utf-8", "replace")[:MAX_NAME].decode("utf-8", "ignore") or UNNAMED


def find_site(name: str) -> str | None:
    """Return the name of the recording site in a recording's file name; None if there is none.

    The site is the text before the time, without spaces and punctuation at its ends: SITE7 in
    `SITE7_20260512_040000.wav`. There is none in `20260512_040000.wav`, or if the name has no time in one of the
    notations of `audio.file_names.NAME_PATTERNS`.
    """
    return text_before_time(name).strip(" _-.,()[]") or None
