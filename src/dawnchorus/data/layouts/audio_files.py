"""Lookup of audio files by paths in a table, which may come from another computer."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from dawnchorus.audio.discovery import SUFFIXES
from dawnchorus.storage.paths import as_path
from dawnchorus.storage.urls import is_url

_FOLDERS = ("", "train_audio", "train_short_audio", "audio")
"""Folders below the audio folder in which the paths of a table may start."""

_ENDINGS = tuple(ending for suffix in sorted(SUFFIXES) for ending in (suffix, suffix.upper()))
"""Ends of files that a table names without theirs."""

_MAX_TAIL = 3
"""Last parts of a path of another machine that are looked for here: folder, species, file."""


def is_absolute(path: str) -> bool:
    """Return True for an absolute path of any system."""
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()


def find_audio(folders: Sequence[Path], paths: Sequence[str], code: str | None) -> Path | None:
    """Return the first existing file under one of `paths`, relative to one of `folders`; None if there is none.

    A file can also lie in a folder named by the species' `code`. Case and Unicode form are ignored where no file is
    spelled as the path is, and only one is otherwise. A URL is that of the file.
    """
    for path in paths:
        if is_url(path):
            return as_path(path)
        for relative in _possible_paths(path, code or ""):
            for folder in folders:
                for base in _FOLDERS:
                    # `Path.is_file` raises for names that are too long.
                    if os.path.isfile(path_ := folder / base / relative):
                        return path_
    return _find_folded(folders, paths, code)


def fold_name(name: str) -> str:
    """Normalize a file name for comparison: case and Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def _find_folded(folders: Sequence[Path], paths: Sequence[str], code: str | None) -> Path | None:
    """Return the first file that has one of `paths` but for case and Unicode form."""
    others = (other for path in paths for other in _possible_paths(path, code or "") if not is_absolute(other))
    for parts in dict.fromkeys(PurePosixPath(other).parts for other in others):
        for folder in folders:
            for base in _FOLDERS:
                path: Path | None = folder / base
                for part in parts:
                    path = None if path is None else _child(path, part)
                if path is not None and path.is_file():
                    return path
    return None


def _child(folder: Path, name: str) -> Path | None:
    """Return the entry of a folder that has a name but for case and Unicode form, if it is the only one."""
    if name == "..":
        return folder / name
    try:
        changed_ns = folder.stat().st_mtime_ns
        entries = _folded_entries(str(folder.absolute()), changed_ns).get(fold_name(name), ())
    except (OSError, ValueError):
        return None
    return folder / entries[0] if len(entries) == 1 else None


@lru_cache(maxsize=256)
def _folded_entries(folder: str, changed_ns: int) -> Mapping[str, Sequence[str]]:
    """Return the entries of a folder by their folded names; a folder that has changed is listed again."""
    del changed_ns
    entries: dict[str, list[str]] = {}
    for entry in os.listdir(folder):
        entries.setdefault(fold_name(entry), []).append(entry)
    return entries


def _possible_paths(path: str, code: str) -> Iterator[str]:
    """Yield the path and the other paths where its file may be, the most likely first."""
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
