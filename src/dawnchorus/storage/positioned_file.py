"""Binary files over what gives bytes at an offset."""

from __future__ import annotations

import io
from abc import abstractmethod


class PositionedFile(io.RawIOBase):
    """A file to read and seek in, of `size` bytes; a subclass gives them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._position = size, 0

    @abstractmethod
    def read_at(self, start: int, n: int) -> bytes | memoryview:
        """Return 1 to `n` bytes at an offset; none at the end."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, and return it; before the start is the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Read into a buffer, and return the number of bytes."""
        content = self.read_at(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
