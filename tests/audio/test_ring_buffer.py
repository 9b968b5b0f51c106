"""Memory shared by processes: its size, its folder, and what happens where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dawnchorus.audio.ring_buffer import N_SLOTS, SLOT_SAMPLES, SharedRingBuffer, reserve_file

SIZE = N_SLOTS * SLOT_SAMPLES * 4


def test_two_rings_of_one_file_share_their_slots() -> None:
    with reserve_file() as file:
        one, other = SharedRingBuffer(file.fileno()), SharedRingBuffer(file.fileno())
    for number in range(N_SLOTS):
        assert one.slot(number).shape == (SLOT_SAMPLES,)
        one.slot(number)[:] = number + 1
    assert [float(other.slot(number).mean()) for number in range(N_SLOTS)] == [1, 2, 3, 4]


@pytest.mark.parametrize("folder", ["/dev/shm", "/nowhere"])
def test_ring_buffer_allocates_in_memory_or_on_disk(folder: str) -> None:
    with reserve_file(Path(folder)) as file:
        state = os.fstat(file.fileno())
        assert state.st_size == SIZE
        assert state.st_blocks * 512 >= SIZE
        assert state.st_nlink == 0, "it has no name"


def test_no_space_is_an_error_and_leaves_no_open_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="No space left"):
        reserve_file()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
