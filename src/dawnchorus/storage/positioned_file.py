"""Base class of binary files over a function that reads bytes at an offset."""

from __future__ import annotations

import io
from abc import abstractmethod


class PositionedFile(io.RawIOBase):
    """Seekable file of `size` bytes for reading; a subclass implements `read_at`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._position = size, 0

    @abstractmethod
    def read_at(self, start: int, n: int) -> bytes | memoryview:
        """Return at least 1 and at most `n` bytes from offset `start`; no bytes if `start` is at or after the end."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes from the start of the file."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, and return it; a position before the start becomes 0."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Read at most `len(buffer)` bytes into the buffer, and return their number; 0 at the end of the file."""
        content = self.read_at(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
