"""Quarantine of files on which decoders crash repeatedly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dawnchorus.errors import AudioDecodeError
from dawnchorus.models.bundle import file_sha256

MAX_CRASHES = 3


class DecoderQuarantine:
    """Crash counts of uploaded files, by their content."""

    def __init__(self) -> None:
        self._crashes: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._crashes)

    def add(self, path: Path) -> None:
        """Count a crash of a decoder on the file."""
        self._crashes[file_sha256(path)] += 1

    def check(self, path: Path) -> None:
        """Raise if the file is in quarantine.

        Raises:
            AudioDecodeError: decoders have crashed on the file `MAX_CRASHES` times.
        """
        if self._crashes[file_sha256(path)] >= MAX_CRASHES:
            raise AudioDecodeError(
                f"decoders have crashed on this file {MAX_CRASHES} times; it is not tried again.", subject=path
            )
