"""Search for recordings in files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dawnchorus.errors import InputError

SUFFIXES = frozenset(
    (
        *(".wav", ".wave", ".w64", ".rf64", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".mp4"),
        *(".aif", ".aiff", ".aifc", ".wma", ".caf", ".au", ".wv"),
    )
)
"""Names that a folder is searched for, in any case. A file that is named itself may end in anything."""

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
    """Return the unique recordings in files, folders (recursively) and globs, in a stable order.

    A named file that is not there, and a glob that matches nothing, stays in the list, so that the run reports it.

    Raises:
        InputError: nothing of all that is there.
    """
    given = [os.fspath(path) for path in paths]
    recordings: dict[str, Path] = {}
    for path in given:
        for recording in _expand(path):
            recordings.setdefault(os.path.abspath(recording), recording)
    if not any(os.path.lexists(path) for path in recordings):
        raise InputError(
            f"No recordings found in {', '.join(given) or 'an empty list'}: expected sound files, folders with "
            f"sound files ({' '.join(sorted(SUFFIXES))}), or globs."
            + "".join(f" Passed over: {note}" for note in describe_skipped(given))
        )
    return list(recordings.values())


def describe_skipped(
    paths: Iterable[str | os.PathLike[str]], *, companions: frozenset[str] = COMPANIONS
) -> Iterator[str]:
    """Yield a sentence for each kind of file that `find_recordings` skips, with a count and an example.

    Files that end in one of `companions`, or have that name, are not counted.
    """
    linked: list[str] = []
    hidden: list[str] = []
    others: dict[str, list[str]] = {}
    for folder in (os.fspath(path) for path in paths):
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
        listed = ", ".join(
            f"{suffix} {len(names)} (as {os.path.basename(names[0])})" for suffix, names in kinds[:_MAX_NAMED]
        )
        more = f" and {len(kinds) - _MAX_NAMED} other endings" if len(kinds) > _MAX_NAMED else ""
        yield f"files whose names do not end like a recording's, not read as sound or tables: {listed}{more}."


def _expand(path: str) -> Iterator[Path]:
    if os.path.isdir(path):
        yield from _walk(path)
    elif not os.path.lexists(path) and (matches := sorted(glob.glob(path, recursive=True))):
        for match in matches:
            yield from _expand(match)
    else:
        yield Path(path)


def _walk(folder: str) -> Iterator[Path]:
    """Yield sound files below `folder`; hidden files and linked folders (which may form a loop) are left out.

    A name with two dots at its start, as `..wav`, is one without a stem, not a hidden one.
    """
    for parent, folders, files in os.walk(folder):
        # A folder whose name ends like a sound file holds no sound of that name: report it as a failure.
        odd = [name for name in folders if Path(name).suffix.lower() in SUFFIXES]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files + odd):
            if not _is_hidden(name) and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and not name.startswith("..")
