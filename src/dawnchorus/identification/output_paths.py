"""Names of recordings in outputs, and output paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def printable(text: str | Path) -> str:
    r"""Return a path or text as valid UTF-8, with other bytes escaped as `\udcXX`."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


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
