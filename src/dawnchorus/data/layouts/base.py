"""The protocol of sources: recordings, and the file that describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.data.recordings import RecordingRow


@dataclass(frozen=True)
class Source:
    """A kind of source that imports know by a file in it.

    Args:
        name: in lower case, as users type it after `--layout`.
        expected: a phrase on the file, and on the folders in which it is looked for.
        find: returns the file that describes a folder, or the path itself if it is such a file; None if there is none.
        read: yields a row for each recording, from the file, the folder of the recordings, and the paths of those that
            are in it. It raises a FormatError if the file is damaged.
    """

    name: str
    expected: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path, Path, Sequence[Path]], Iterable[RecordingRow]]
