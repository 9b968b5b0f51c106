"""Paths of a run's files: its tables, named after recordings, and the files next to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

PARAMETERS_SUFFIX = ".params.json"
FAILURES_SUFFIX = ".failures.csv"


def printable(text: str | Path) -> str:
    r"""Return a path or text as valid UTF-8, with other bytes escaped as `\udcXX`."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def current_folder() -> str:
    """Return the current folder; the root if it was removed, where only absolute paths mean anything."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return os.sep


def is_folder(out: Path) -> bool:
    """Return True for an existing folder, or a path without a suffix."""
    return out.is_dir() or not out.suffix


@dataclass(frozen=True)
class RunFiles:
    """Paths of the files of a run that are next to its tables."""

    folder: Path
    """The folder of all files of the run."""
    journal: Path
    lock: Path
    parameters: Path
    failures: Path
    stem: Path
    """Path of a table of all recordings, without a suffix."""

    @classmethod
    def next_to(cls, out: Path, suffix: str) -> RunFiles:
        """Return the paths for a run that is written to `out`; in a file, names end with `suffix`."""
        folder, state, name, stem = (
            (out, ".dawnchorus", "run", "detections")
            if is_folder(out)
            else (out.parent, f".{out.name}", out.name, out.name.removesuffix(suffix) or out.stem)
        )
        return cls(
            folder=folder,
            journal=folder / f"{state}.journal",
            lock=folder / f"{state}.lock",
            parameters=folder / f"{name}{PARAMETERS_SUFFIX}",
            failures=folder / f"{name}{FAILURES_SUFFIX}",
            stem=folder / stem,
        )

    def name(self, path: Path) -> str:
        """Return the name of a file in the run's journal, which stays valid if the folder is moved."""
        return path.relative_to(self.folder).as_posix()


@dataclass(frozen=True)
class WrittenOutputs:
    """Tables that a run has written."""

    paths: tuple[Path, ...] = ()
    changed: Mapping[Path, Path] = field(default_factory=dict)
    """New names of those that were changed since an earlier run wrote them."""


def unused_path(path: Path, word: str) -> Path:
    """Return the first of NAME.WORD-1, NAME.WORD-2 and so on that is not there."""
    names = (path.with_name(f"{path.name}.{word}-{k}") for k in count(1))
    return next(name for name in names if not name.exists())


MAX_NAME_BYTES = 240
"""Most file systems take 255; our unfinished files have six more."""


def named_after(path: Path, suffix: str) -> Path:
    """Return an output path named after a recording; long names are shortened but stay unique."""
    name = os.fsencode(path.name + suffix)
    if len(name) <= MAX_NAME_BYTES:
        return path.with_name(path.name + suffix)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    start = os.fsencode(path.name)[: MAX_NAME_BYTES - len(suffix) - len(digest) - 1].decode("utf-8", "ignore")
    return path.with_name(f"{start}-{digest}{suffix}")


def shared_folder(paths: Iterable[Path]) -> str | None:
    """Return the deepest common folder of all recordings; None if they are on several drives."""
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    except ValueError:
        return None


def relative_paths(paths: Sequence[Path], root: str | None = None) -> dict[Path, Path]:
    """Return each recording's output path inside an output folder, mirroring its path below `root`.

    Without a root, that is the folder that all share.
    """
    root = root or shared_folder(paths)
    absolute = {path: os.path.abspath(path) for path in paths}
    if root is None:
        return {path: Path(full[0], *Path(full).parts[1:]) for path, full in absolute.items()}
    return {path: Path(os.path.relpath(full, root)) for path, full in absolute.items()}
