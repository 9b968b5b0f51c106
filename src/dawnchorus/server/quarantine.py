"""Quarantine of files on which decoders crash repeatedly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dawnchorus.errors import AudioDecodeError
from dawnchorus.models.bundle import file_sha256

MAX_CRASHES = 3
"""Number of crashes after which a file is in quarantine."""


class DecoderQuarantine:
    """Number of decoder crashes by sha256 of the uploaded file, since the server's start.

    A file with at least `MAX_CRASHES` crashes is in quarantine: it is not decoded again.

    The object is true if any decoder has crashed; until then, files need not be hashed.
    """

    def __init__(self) -> None:
        self._crashes: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._crashes)

    def add(self, path: Path) -> None:
        """Count one crash of a decoder on the file at `path`, by the sha256 of its content."""
        self._crashes[file_sha256(path)] += 1

    def check(self, path: Path) -> None:
        """Check that the file is not in quarantine.

        Raises:
            AudioDecodeError: decoders have crashed on a file of this content `MAX_CRASHES` times.
        """
        if self._crashes[file_sha256(path)] >= MAX_CRASHES:
            raise AudioDecodeError(
                f"decoders have crashed on this file {MAX_CRASHES} times; it is not tried again.", subject=path
            )
