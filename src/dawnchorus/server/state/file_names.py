"""File names that clients give."""

from __future__ import annotations

from dawnchorus.audio.file_names import text_before_time

MAX_NAME = 255
"""Maximum length of a file name in bytes."""

UNNAMED = "upload"
"""Name of a file whose client gives none."""


def base_name(given: str) -> str:
    """Return the last part of a client's file name, cut to the length that file systems take."""
    last = given.replace("\\", "/").rpartition("/")[2].replace("\0", "")
    return last.encode("utf-8", "replace")[:MAX_NAME].decode("utf-8", "ignore") or UNNAMED


def find_site(name: str) -> str | None:
    """Return the site that recorders write before the time into a file's name (SITE7_20260512_040000.wav)."""
    return text_before_time(name).strip(" _-.,()[]") or None
