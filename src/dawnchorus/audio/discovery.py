"""Search for recordings in files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from dawnchorus.errors import InputError
from dawnchorus.storage.listing import ListedObject, list_objects
from dawnchorus.storage.paths import RemotePath, as_path, full_name

SUFFIXES = frozenset(
    (
        *(".wav", ".wave", ".w64", ".rf64", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".mp4"),
        *(".aif", ".aiff", ".aifc", ".wma", ".caf", ".au", ".wv"),
    )
)
"""Suffixes of recordings in folders, in any case; a file that is named itself may have any suffix."""

COMPANIONS = frozenset(
    {
        ".csv",
        ".data",
        ".html",
        ".jpeg",
        ".jpg",
        ".json",
        ".jsonl",
        ".md",
        ".parquet",
        ".pdf",
        ".png",
        ".tsv",
        ".txt",
        ".xlsx",
        ".xml",
    }
)
"""Suffixes of tables, texts and images next to recordings, which are skipped without a message."""

_MAX_NAMED = 5


def find_recordings(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the recordings in files, folders (recursively) and globs, also by URL, each once.

    They are in the order of `paths`, and sorted by name in a folder or glob. In folders, files with one of `SUFFIXES`
    are found, except hidden ones and those in hidden or linked folders; a file that is named itself, or by a glob, may
    have any suffix.

    A named file that does not exist, a glob that matches nothing, a folder that cannot be listed, and an object that
    cannot be accessed are in the list, too, so that the run reports them; without anything else, only such folders are.

    Raises:
        InputError: none of the paths leads to a recording that exists.
        StoreError: a store refused access, or cannot be reached.
    """
    given = [_as_given(path) for path in paths]
    recordings: dict[str, Path] = {}
    listed = list_objects([path for path in given if isinstance(path, RemotePath)])
    remote = iter(listed)
    for path in given:
        expanded = _expand(path) if isinstance(path, str) else map(_own_path, filter(_is_recording, next(remote)))
        for recording in expanded:
            recordings.setdefault(full_name(recording), recording)
    if not any(map(_is_there, recordings.values())):
        for failure in (each.failure for each in chain.from_iterable(listed) if each.failure is not None):
            raise failure
        raise InputError(
            f"No recordings found in {', '.join(map(str, given)) or 'an empty list'}: expected sound files, folders "
            f"with sound files ({' '.join(sorted(SUFFIXES))}), or globs."
            + "".join(f" Passed over: {note}" for note in describe_skipped(given))
        )
    return list(recordings.values())


def describe_skipped(
    paths: Iterable[str | os.PathLike[str]], *, companions: frozenset[str] = COMPANIONS
) -> Iterator[str]:
    """Yield a sentence for each kind of path that `find_recordings` skips, with the number of paths and an example.

    The kinds are linked folders, hidden recordings and folders, and files with other suffixes than `SUFFIXES`. Files
    whose suffix (such as ".csv") or whole name is in `companions` are not counted. Nothing is yielded if nothing is
    skipped.

    Raises:
        StoreError: a store refused to list a folder, or cannot be reached.
    """
    linked: list[str] = []
    hidden: list[str] = []
    others: dict[str, list[str]] = {}
    given = [_as_given(path) for path in paths]
    for listed in chain.from_iterable(list_objects([path for path in given if isinstance(path, RemotePath)])):
        name, suffix = listed.path.name, listed.path.suffix.lower()
        if _is_recording(listed):
            continue
        if suffix in SUFFIXES:
            hidden.append(str(listed.path))
        elif companions.isdisjoint((suffix, name)) and not name.startswith("."):
            others.setdefault(suffix or "no suffix", []).append(str(listed.path))
    for folder in (path for path in given if isinstance(path, str)):
        for parent, folders, files in os.walk(folder):
            linked += [
                os.path.join(parent, name) for name in sorted(folders) if os.path.islink(os.path.join(parent, name))
            ]
            hidden += [os.path.join(parent, name) for name in sorted(folders) if name.startswith(".")]
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                suffix = Path(name).suffix.lower()
                if suffix in SUFFIXES and _is_hidden(name):
                    hidden.append(os.path.join(parent, name))
                elif suffix not in SUFFIXES and companions.isdisjoint((suffix, name)) and not name.startswith("."):
                    others.setdefault(suffix or "no suffix", []).append(os.path.join(parent, name))
    if linked:
        yield f"linked folders, which are not followed: {len(linked)} (as {linked[0]}). Name them next to the folder."
    if hidden:
        yield f"hidden files and folders, left out: {len(hidden)} (as {hidden[0]})."
    if others:
        kinds = sorted(others.items(), key=lambda kind: -len(kind[1]))
        named = ", ".join(
            f"{suffix} {len(names)} (as {os.path.basename(names[0])})" for suffix, names in kinds[:_MAX_NAMED]
        )
        more = f" and {len(kinds) - _MAX_NAMED} other endings" if len(kinds) > _MAX_NAMED else ""
        yield f"files whose names do not end like a recording's, not read as sound or tables: {named}{more}."


def _as_given(path: str | os.PathLike[str]) -> str | RemotePath:
    """Return a URL as a path, and other paths as text, since they may be globs."""
    known = as_path(path)
    if isinstance(known, RemotePath):
        return known
    text = os.fspath(path)
    return os.fspath(known) if text.lower().startswith("file://") else text


def _own_path(listed: ListedObject) -> Path:
    return listed.path


def _is_recording(listed: ListedObject) -> bool:
    """Return True for an object that was named itself, or that would be found in a local folder."""
    *folders, name = listed.key_in_folder.split("/")
    is_shown = not _is_hidden(name) and not any(folder.startswith(".") for folder in folders)
    return listed.is_named or (is_shown and PurePosixPath(name).suffix.lower() in SUFFIXES)


def _is_there(recording: Path) -> bool:
    return recording.is_listed if isinstance(recording, RemotePath) else os.path.lexists(recording)


def _expand(path: str) -> Iterator[Path]:
    if os.path.isdir(path):
        yield from _walk(path)
    elif not os.path.lexists(path) and (matches := sorted(glob.glob(path, recursive=True))):
        for match in matches:
            yield from _expand(match)
    else:
        yield Path(path)


def _walk(folder: str) -> Iterator[Path]:
    """Yield audio files below `folder`, and folders that cannot be listed.

    Hidden files and linked folders (which may form a loop) are left out. A name with two dots at its start, such as
    `..wav`, is a name without a stem, and not hidden.
    """
    unlisted: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unlisted.append):
        # A folder whose name ends like a sound file holds no sound of that name: report it as a failure.
        odd = [name for name in folders if Path(name).suffix.lower() in SUFFIXES]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files + odd):
            if not _is_hidden(name) and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)
    # Removed meanwhile, it has nothing to miss.
    yield from (Path(error.filename) for error in unlisted if not isinstance(error, FileNotFoundError))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and not name.startswith("..")
