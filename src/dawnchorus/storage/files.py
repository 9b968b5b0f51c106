"""Atomic file writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dawnchorus.errors import OutputError


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` if the block succeeds, and leaves it unchanged otherwise.

    Raises:
        OutputError: no space, no permission, or the folder is not there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the OutputError for a path that cannot be written."""
    return OutputError(
        f"cannot be written ({error.strerror or error}). Check free space and access rights; no results "
        f"were lost: run the same command again to resume.",
        subject=path,
    )
