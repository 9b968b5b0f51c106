"""Memory shared by two processes, which avoids copying samples through a pipe."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from dawnchorus.arrays import FloatArray

SLOT_SAMPLES = 1 << 18
"""Samples in a slot: enough to make messages about slots cheap, few enough for a quick start."""

N_SLOTS = 4

_BYTES = N_SLOTS * SLOT_SAMPLES * np.dtype(np.float32).itemsize
MEMORY = Path("/dev/shm")  # noqa: S108 - files there are memory


class SharedRingBuffer:
    """Shared-memory buffer of `N_SLOTS` slots with `SLOT_SAMPLES` float32 samples each.

    The memory has no name, so that it is released when both processes have ended, even after a crash.

    Args:
        descriptor: descriptor of an open file, as `reserve_file` opens it, which may be closed afterwards.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        memory = mmap.mmap(descriptor, _BYTES)
        self._samples = np.frombuffer(memory, np.float32).reshape(N_SLOTS, SLOT_SAMPLES)

    def slot(self, number: int) -> FloatArray:
        """Return the shared samples [SLOT_SAMPLES] of the slot with this number, from 0; writing to them is allowed."""
        samples: FloatArray = self._samples[number]
        return samples


def reserve_file(memory: Path = MEMORY) -> IO[bytes]:
    """Open an unnamed file for a `SharedRingBuffer`, in the folder `memory` if possible, else on disk.

    Its space is allocated at once, so that later writes cannot fail.

    Raises:
        OSError: there is no space, neither in the folder `memory` nor on disk.
    """
    try:
        return _reserve(memory)
    except OSError:  # no such folder, or (in containers) too small a one
        return _reserve(None)


def _reserve(folder: Path | None) -> IO[bytes]:
    file = tempfile.TemporaryFile(prefix="dawnchorus-", dir=folder)  # noqa: SIM115 - the caller closes it
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, _BYTES)
        else:
            os.truncate(file.fileno(), _BYTES)
    except OSError:
        file.close()
        raise
    return file
