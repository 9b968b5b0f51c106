"""File names that clients give."""

from __future__ import annotations

MAX_NAME = 255
"""Bytes."""


def base_name(given: str) -> str:
    """Return the last part of a client's file name, cut to the length that file systems take."""
    last = given.replace("\\", "/").rpartition("/")[2].replace("\0", "")
    return last.encode("utf-8", "replace")[:MAX_NAME].decode("utf-8", "ignore") or "upload"
