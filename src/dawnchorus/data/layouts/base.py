"""The interface of a source: a kind of data set that is recognized by a file that describes its recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.data.recordings import RecordingRow


@dataclass(frozen=True)
class Source:
    """A kind of data set that imports recognize by a file in it, such as xeno-canto's search results.

    Args:
        name: name of the layout, in lower case, as users type it after `--layout`.
        expected: phrase for error messages on the file's name and location.
        find: function of a path that returns the describing file: for a folder the file found there, for a file the
            path itself if it is of this kind; None if there is none.
        read: function of the describing file, the folder of the recordings, and the paths of the audio files in it,
            that yields a row per recording. It raises a FormatError if the file is damaged.
    """

    name: str
    expected: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path, Path, Sequence[Path]], Iterable[RecordingRow]]
