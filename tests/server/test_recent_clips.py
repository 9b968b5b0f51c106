"""Clips that were decoded last."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dawnchorus.arrays import FloatArray
from dawnchorus.server.recent_clips import MAX_CLIPS, RecentClips


class Decoding:
    """A decoding that waits until it may end, and counts."""

    def __init__(self) -> None:
        self.n_calls = 0
        self.may_end = threading.Event()

    def __call__(self) -> FloatArray:
        self.n_calls += 1
        self.may_end.wait()
        return np.full(3, self.n_calls, np.float32)


def test_a_clip_is_decoded_once_for_all_who_ask_and_forgotten_behind_others() -> None:
    clips, decoding = RecentClips(), Decoding()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(clips.read, "a", decoding) for _ in range(2)]
        decoding.may_end.set()
        assert [each.result().tolist() for each in asked] == [[1, 1, 1]] * 2
    for k in range(MAX_CLIPS - 1):
        clips.read(k, decoding)
    assert clips.read("a", decoding)[0] == 1, "it was used last"
    for k in range(MAX_CLIPS):
        clips.read(k, decoding)
    assert clips.read("a", decoding)[0] == decoding.n_calls > 1


def test_an_error_is_not_kept() -> None:
    clips, decoding = RecentClips(), Decoding()
    decoding.may_end.set()
    with pytest.raises(ZeroDivisionError):
        clips.read("a", lambda: np.zeros(1 // 0, np.float32))
    assert clips.read("a", decoding)[0] == 1
