"""From paths, folders, globs and lists to the recordings of a run."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dawnchorus.errors import InputError

SUFFIXES = frozenset(
    (
        *(".wav", ".wave", ".w64", ".rf64", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".mp4"),
        *(".aif", ".aiff", ".aifc", ".wma", ".caf", ".au", ".wv"),
    )
)
"""Names that a folder is searched for, in any case. A file that is named itself may end in anything."""


def find_recordings(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Every recording that `paths` name, once, in a stable order: files, folders (searched to any depth), globs.

    A named file that is not there, and a glob that matches nothing, stays in the list, so that the run reports it.

    Raises:
        InputError: nothing of all that is there.
    """
    given = [os.fspath(path) for path in paths]
    found: dict[str, Path] = {}
    for path in given:
        for recording in _expand(path):
            found.setdefault(os.path.abspath(recording), recording)
    if not any(os.path.lexists(path) for path in found):
        raise InputError(
            f"No recordings found in {', '.join(given) or 'an empty list'}: expected sound files, folders with "
            f"sound files ({' '.join(sorted(SUFFIXES))}), or globs."
        )
    return list(found.values())


def _expand(path: str) -> Iterator[Path]:
    if os.path.isdir(path):
        yield from _walk(path)
    elif not os.path.lexists(path) and (matches := sorted(glob.glob(path, recursive=True))):
        for match in matches:
            yield from _expand(match)
    else:
        yield Path(path)


def _walk(folder: str) -> Iterator[Path]:
    """Sound files below `folder`; hidden files and linked folders (which may form a loop) are left out."""
    for parent, folders, files in os.walk(folder):
        # A folder whose name ends like a sound file holds no sound of that name: report it as a failure.
        odd = [name for name in folders if Path(name).suffix.lower() in SUFFIXES]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files + odd):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


def printable(text: str | Path) -> str:
    """A path, or a text with one, that any file or terminal takes: bytes that are not UTF-8 are written `\\udcXX`."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


MAX_NAME_BYTES = 240
"""Most file systems take 255; our unfinished files have six more."""


def named_after(place: Path, suffix: str) -> Path:
    """Where an output called after a recording goes; a name too long for a disk is shortened, and stays unique."""
    name = os.fsencode(place.name + suffix)
    if len(name) <= MAX_NAME_BYTES:
        return place.with_name(place.name + suffix)
    digest = hashlib.sha256(os.fsencode(place.name)).hexdigest()[:12]
    start = os.fsencode(place.name)[: MAX_NAME_BYTES - len(suffix) - len(digest) - 1].decode("utf-8", "ignore")
    return place.with_name(f"{start}-{digest}{suffix}")


def shared_folder(paths: Iterable[Path]) -> str | None:
    """The deepest folder that all recordings are below; None where they are on several drives."""
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    except ValueError:
        return None


def relative_places(paths: Sequence[Path], root: str | None = None) -> dict[Path, Path]:
    """Where each recording's own output goes inside an output folder: its path below `root`.

    Without a root, that is the folder that all share.
    """
    root = root or shared_folder(paths)
    absolute = {path: os.path.abspath(path) for path in paths}
    if root is None:
        return {path: Path(full[0], *Path(full).parts[1:]) for path, full in absolute.items()}
    return {path: Path(os.path.relpath(full, root)) for path, full in absolute.items()}
