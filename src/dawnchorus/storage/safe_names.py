"""Safe file names from any text."""

from __future__ import annotations

import functools

from pathvalidate import sanitize_filename

MAX_NAME_BYTES = 255


@functools.lru_cache(1024)  # all clips of a recording ask for its name, and pathvalidate needs 0.2 ms
def safe_name(text: str, *, replacement: str = "_", max_bytes: int = MAX_NAME_BYTES) -> str:
    """Return the text as a file name of at most `max_bytes` bytes that is valid on every system, and not hidden.

    Characters that are not allowed in a file name become `replacement`, and spaces and dots around the name are
    dropped. If nothing is left, the name is `unnamed`. Different texts may get the same name.
    """
    plain = text.encode("utf-8", "replace").decode()  # bytes that are no text come as lone surrogates
    plain = sanitize_filename(plain, replacement_text=replacement, max_len=max_bytes)
    return sanitize_filename(plain.strip(" ."), max_len=max_bytes) or "unnamed"
