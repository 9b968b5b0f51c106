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
"""Folders below the audio folder to which the paths in a table may be relative."""

_ENDINGS = tuple(ending for suffix in sorted(SUFFIXES) for ending in (suffix, suffix.upper()))
"""Suffixes that are tried for names without a suffix."""

_MAX_TAIL = 3
"""Maximum number of last parts of an absolute path that are looked up in the audio folder: folder, species, file."""


def is_absolute(path: str) -> bool:
    """Return True for an absolute path in POSIX or Windows form."""
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()


def find_audio(folders: Sequence[Path], paths: Sequence[str], code: str | None) -> Path | None:
    """Return the first existing audio file that a table's row means; None if there is none.

    The first path that leads to a file in one of the folders counts; of these folders, the first. Subfolders such as
    `train_audio` are searched, too, and audio suffixes are added to names without one. Of an absolute path that does
    not exist here, up to three last parts are looked up in the folders. A URL is returned as a
    `storage.paths.RemotePath`, whether it exists or not. If no file is spelled exactly like a path, case and Unicode
    form are ignored, provided that only one file matches.

    Args:
        folders: the audio folders, in order of preference.
        paths: the row's paths or names, in order of preference, with or without suffix and folders.
        code: species code, which may be the name of the file's folder; None if it is unknown.
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
    """Normalize a file name for comparison: case-folded, Unicode NFC."""
    return unicodedata.normalize("NFC", name).casefold()


def _find_folded(folders: Sequence[Path], paths: Sequence[str], code: str | None) -> Path | None:
    """Return the first file that matches one of `paths` if case and Unicode form are ignored; None without."""
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
    """Return the only entry of a folder that matches a name if case and Unicode form are ignored; else None."""
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
    """Return the entries of a folder by `fold_name`; `changed_ns` (time of change) makes the cache list it again."""
    del changed_ns
    entries: dict[str, list[str]] = {}
    for entry in os.listdir(folder):
        entries.setdefault(fold_name(entry), []).append(entry)
    return entries


def _possible_paths(path: str, code: str) -> Iterator[str]:
    """Yield the path and variants of it that the file may have, the most likely first."""
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
