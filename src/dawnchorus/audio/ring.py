"""Memory that two processes share: samples cross over without being copied through a pipe."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

SLOT_SAMPLES = 1 << 18
"""Samples in a slot: large enough that messages about it cost nothing, small enough to start early."""

N_SLOTS = 4

_BYTES = N_SLOTS * SLOT_SAMPLES * np.dtype(np.float32).itemsize
_MEMORY = Path("/dev/shm")  # noqa: S108 - files there are memory


class Ring:
    """`N_SLOTS` arrays of `SLOT_SAMPLES` float32 samples each, in a file that both processes map."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), _BYTES)
        self._samples = np.frombuffer(memory, np.float32).reshape(N_SLOTS, SLOT_SAMPLES)

    @classmethod
    def create(cls) -> Ring:
        """A new ring, in memory where the system lets us, else in the folder for temporary files.

        Raises:
            OSError: no space in either.
        """
        try:
            return cls(_reserve(_MEMORY))
        except OSError:  # no such folder, or (in containers) too small a one
            return cls(_reserve(None))

    def slot(self, number: int) -> FloatArray:
        """The slot's samples: what one process writes there, the other reads."""
        samples: FloatArray = self._samples[number]
        return samples

    def unlink(self) -> None:
        """Remove the file; on systems where that is possible, the memory stays until both processes let go of it."""
        try:
            self.path.unlink(missing_ok=True)
        except PermissionError:  # Windows, while it is mapped
            return


def _reserve(folder: Path | None) -> Path:
    """A file with all its space taken, so that writing to its memory cannot fail later."""
    descriptor, name = tempfile.mkstemp(prefix="dawnchorus-", dir=folder)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, _BYTES)
        else:
            os.truncate(descriptor, _BYTES)
    except OSError:
        Path(name).unlink()
        raise
    finally:
        os.close(descriptor)
    return Path(name)
