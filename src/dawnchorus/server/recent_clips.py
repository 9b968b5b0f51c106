"""Cache of the latest decoded clips, since pages request the spectrogram and the audio of a detection together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future

from dawnchorus.arrays import FloatArray

MAX_CLIPS = 8
"""Maximum number of clips in the cache."""


class RecentClips:
    """Thread-safe cache of the samples of the `MAX_CLIPS` clips that were read last.

    Concurrent reads of the same clip share one decoding.
    """

    def __init__(self) -> None:
        self._clips: dict[Hashable, Future[FloatArray]] = {}
        self._lock = threading.Lock()

    def read(self, key: Hashable, decode: Callable[[], FloatArray]) -> FloatArray:
        """Return the samples of a clip from the cache, or decode the clip and add it.

        Args:
            key: identification of the clip: recording, segment and channel.
            decode: function that returns the clip's samples [n], float32. Its exceptions are raised, and not cached.
        """
        with self._lock:
            known = self._clips.pop(key, None)
            clip = known or Future[FloatArray]()
            self._clips[key] = clip  # the last one
            if len(self._clips) > MAX_CLIPS:
                del self._clips[next(iter(self._clips))]
        if known is None:
            try:
                clip.set_result(decode())
            except Exception as error:
                clip.set_exception(error)
                with self._lock:
                    self._clips.pop(key, None)
                raise
        return clip.result()
