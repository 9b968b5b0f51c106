"""Atomic file writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dawnchorus.errors import OutputError, OutputExistsError
from dawnchorus.storage.paths import RemotePath


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file for writing that replaces `path` if the block succeeds, and leaves `path` unchanged otherwise.

    If `path` is a URL (`RemotePath`), the whole object is sent at the end, unless another program has written the
    object since the block began. An OSError of the block itself is raised as OutputError, too.

    Raises:
        OutputError: no space, no permission, the folder does not exist, or the store failed.
        OutputExistsError: another program has written the object.
    """
    if isinstance(path, RemotePath):
        with _remote_file(path) as stream:
            yield stream
        return
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


@contextmanager
def _remote_file(path: RemotePath) -> Iterator[BinaryIO]:
    try:
        with path.replacing() as stream:
            yield stream
    except FileExistsError:
        raise OutputExistsError(
            "another program has written it since this run began to. Choose another output, or use --overwrite.",
            subject=path,
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from error


def make_parent(path: Path) -> None:
    """Create the folder of a file, and its parents, if they do not exist.

    Raises:
        OutputError: no permission, or one of the parents is a file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error


def cannot_write(path: Path, error: Exception) -> OutputError:
    """Return, without raising, the OutputError for a path that cannot be written because of `error`."""
    if isinstance(error, FileNotFoundError):
        return OutputError("cannot be written: its folder does not exist. Create it, or name another.", subject=path)
    reason = getattr(error, "strerror", None) or error  # sqlite3's errors have no strerror
    return OutputError(
        f"cannot be written ({reason}). Check free space and access rights; no results were lost: run the same command "
        f"again to resume.",
        subject=path,
    )
