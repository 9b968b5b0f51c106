"""Paths of a run's files: tables named after recordings, and the files next to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import platformdirs

from dawnchorus.storage.paths import absolute_path, is_remote
from dawnchorus.storage.safe_names import safe_name

RUNS_VARIABLE = "DAWNCHORUS_RUNS"

_UPWARDS = {".": "_", "..": "__"}
"""Replacements for path segments in a store's key that have a special meaning on a disk."""

_STORE_PARTS = 2
"""Number of path segments of a whole store: scheme and bucket."""

_MAX_STATE_BYTES = 100

PARAMETERS_SUFFIX = ".params.json"
FAILURES_SUFFIX = ".failures.csv"


def printable(text: str | Path) -> str:
    r"""Return a path or text as valid UTF-8, with other bytes escaped as `\udcXX`."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def current_folder() -> str:
    """Return the working directory, or the root folder if the working directory was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return os.sep


def is_folder(out: Path) -> bool:
    """Return True for an existing folder, or a path without a suffix."""
    return out.is_dir() or not out.suffix


@dataclass(frozen=True)
class RunFiles:
    """Paths of a run's files next to its tables: journal, lock, parameters and failures."""

    folder: Path
    """Folder of all files of the run, except journal and lock of a run in a store, which are in `runs_folder()`."""
    journal: Path
    """SQLite file with the results (`journal.Journal`)."""
    lock: Path
    """File that one process locks while it writes to the output."""
    parameters: Path
    """Model, software and options, as JSON; written last."""
    failures: Path
    """CSV with the recordings that failed; missing if none did."""
    stem: Path
    """Path of a table with all recordings, without its suffix."""

    @classmethod
    def next_to(cls, out: Path, suffix: str) -> RunFiles:
        """Return the paths for a run whose output is `out`, a file or folder, also by URL.

        If `out` is a file, `suffix` is that of its format, which is left out in `stem`; else it has no effect.
        """
        folder, state, name, stem = (
            (out, ".dawnchorus", "run", "detections")
            if is_folder(out)
            else (out.parent, f".{out.name}", out.name, out.name.removesuffix(suffix) or out.stem)
        )
        state_folder, state = (runs_folder(), remote_state(out)) if is_remote(out) else (folder, state)
        return cls(
            folder=folder,
            journal=state_folder / f"{state}.journal",
            lock=state_folder / f"{state}.lock",
            parameters=folder / f"{name}{PARAMETERS_SUFFIX}",
            failures=folder / f"{name}{FAILURES_SUFFIX}",
            stem=folder / stem,
        )

    def name(self, path: Path) -> str:
        """Return the name by which the run's journal records a file: its path relative to `folder`."""
        return path.relative_to(self.folder).as_posix()


def runs_folder() -> Path:
    """Return the local folder for journals of runs in stores: $DAWNCHORUS_RUNS, or one in the user's state folder."""
    given = os.environ.get(RUNS_VARIABLE)
    return Path(given) if given else platformdirs.user_state_path("dawnchorus") / "runs"


def remote_state(out: Path) -> str:
    """Return the name of a run's journal, without suffix, for an output in a store: NAME-DIGEST.

    NAME is the last part of the URL `out`, and DIGEST has 12 hexadecimal digits of the sha256 of the URL.
    """
    digest = hashlib.sha256(str(out).rstrip("/").encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{safe_name(out.name, max_bytes=_MAX_STATE_BYTES)}-{digest}"


@dataclass(frozen=True)
class WrittenOutputs:
    """Tables that a call of `identify` has written."""

    paths: tuple[Path, ...] = ()
    """Paths of the written tables of detections and analyses, without tables that were up to date."""
    changed: Mapping[Path, Path] = field(default_factory=dict)
    """New paths of tables that others changed after an earlier call had written them, by their original path."""


def unused_path(path: Path, word: str) -> Path:
    """Return the first of the paths PATH.WORD-1, PATH.WORD-2 and so on that does not exist."""
    names = (path.with_name(f"{path.name}.{word}-{k}") for k in count(1))
    return next(name for name in names if not name.exists())


MAX_NAME_BYTES = 240
"""Maximum length of a file name: most file systems allow 255 bytes, and temporary names are six bytes longer."""


def named_after(path: Path, suffix: str) -> Path:
    """Return a recording's path with `suffix` added to its name.

    Names of more than `MAX_NAME_BYTES` are shortened, and stay unique by a digest.
    """
    name = os.fsencode(path.name + suffix)
    if len(name) <= MAX_NAME_BYTES:
        return path.with_name(path.name + suffix)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    start = os.fsencode(path.name)[: MAX_NAME_BYTES - len(suffix) - len(digest) - 1].decode("utf-8", "ignore")
    return path.with_name(f"{start}-{digest}{suffix}")


def shared_folder(paths: Iterable[Path]) -> str | None:
    """Return the absolute path (or URL) of the deepest common folder of all recordings; None without a common folder.

    There is none if there are no recordings, or if they are on several drives or in several stores.
    """
    folders = {absolute_path(path).parent for path in paths}
    if any(map(is_remote, folders)):
        return _shared_url(folders)
    try:
        return os.path.commonpath(folders)
    except ValueError:
        return None


def _shared_url(folders: Collection[Path]) -> str | None:
    """Return the deepest common folder of URLs; None if they are in several stores."""
    shortest = min(folders, key=lambda folder: len(folder.parts))
    above = [shortest]
    while len(above[-1].parts) > _STORE_PARTS:
        above.append(above[-1].parent)
    shared = next((each for each in above if all(folder.is_relative_to(each) for folder in folders)), None)
    return None if shared is None else str(shared)


def relative_paths(paths: Sequence[Path], root: str | None = None) -> dict[Path, Path]:
    """Return the path of each recording relative to a root.

    Args:
        paths: the recordings, as paths or URLs.
        root: absolute path or URL of a folder; None for the recordings' common folder (`shared_folder`). If they have
            none either, the relative paths begin with the drive's letter or with the scheme and name of the store.

    Returns:
        Relative path by recording. That of a local recording outside `root` begins with `..`; in that of an object,
        the segments `.` and `..` are replaced by `_` and `__`.

    Raises:
        ValueError: an object of a store is not below `root`, or a file is on another drive.
    """
    root = root or shared_folder(paths)
    return {path: _relative(absolute_path(path), root) for path in paths}


def _relative(path: Path, root: str | None) -> Path:
    if is_remote(path):
        parts = path.parts if root is None else path.relative_to(root).parts
        return Path(*(_UPWARDS.get(part, part.strip(":")) for part in parts))
    if root is None:
        return Path(path.drive[:1], *path.parts[1:])
    return Path(os.path.relpath(path, root))
