"""Sound files by the paths that a table gives, which may be those of another machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from dawnchorus.audio.discovery import SUFFIXES

_FOLDERS = ("", "train_audio", "train_short_audio", "audio")
"""Folders that a table's paths may begin in, below the folder of the sound."""

_ENDINGS = tuple(ending for suffix in sorted(SUFFIXES) for ending in (suffix, suffix.upper()))
"""Ends of files that a table names without theirs."""

_MAX_TAIL = 3
"""Last parts of a path of another machine that are looked for here: folder, species, file."""


def is_absolute(path: str) -> bool:
    """Return True if the path begins at a root, here or on another system."""
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()


def find_sound(folders: Sequence[Path], paths: Sequence[str], code: str | None) -> Path | None:
    """Return the first file that is there under one of `paths`, from one of `folders`; None if there is none.

    A file can also lie in a folder named by the species' `code`.
    """
    for path in paths:
        for relative in _places(path, code or ""):
            for folder in folders:
                for base in _FOLDERS:
                    # `Path.is_file` raises for names that are too long.
                    if os.path.isfile(path_ := folder / base / relative):
                        return path_
    return None


def _places(path: str, code: str) -> Iterator[str]:
    """Yield the path and the other places where its file may be, the most likely first."""
    yield path
    suffix = PurePosixPath(path).suffix
    if suffix:
        yield path.removesuffix(suffix) + suffix.swapcase()
    if suffix.lower() not in SUFFIXES:
        names = (path, f"ML{path}", f"XC{path}") if path.isdigit() else (path,)
        yield from (name + ending for name in names for ending in _ENDINGS)
    if not is_absolute(path):
        yield str(Path(code, path))
        if "\\" in path:
            yield path.replace("\\", "/")
        return
    parts = (PureWindowsPath(path) if "\\" in path else PurePosixPath(path)).parts[1:]
    for n in range(min(_MAX_TAIL, len(parts)), 0, -1):
        yield str(Path(*parts[-n:]))
    yield str(Path(code, *parts[-1:]))
