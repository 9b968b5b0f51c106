"""Decoders that tests share: one that has decoded well is kept for the next test, since a start costs 0.16 s."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.process import _Child as Child

OWN = {name: getattr(DecoderProcess, name) for name in ("_start", "close")}
"""Methods of decoders that nothing shares."""

Key = tuple[Any, ...]

_IGNORED = frozenset(("PYTEST_CURRENT_TEST", "DAWNCHORUS_MODELS", "COLUMNS"))
"""Variables that no decoder reads."""

_KEPT = 4
"""Idle decoders of a kind: tests use few at once."""


def _key(decoder: DecoderProcess) -> Key:
    """Return all that a decoder has from its start: folder, environment and settings."""
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name not in _IGNORED))
    return Path.cwd(), environment, decoder._stall_s, decoder._shares_memory


@contextmanager
def sharing_decoders() -> Iterator[None]:
    """Keep decoders that are closed after whole recordings, and take them where the same are to be started."""
    home = Path.cwd()
    start, close = OWN.values()
    idle: defaultdict[Key, list[Child]] = defaultdict(list)
    key_of: WeakKeyDictionary[Child, Key] = WeakKeyDictionary()

    def take_or_start(self: DecoderProcess) -> Child:
        key = _key(self)
        while self._child is None and idle[key]:
            self._child = idle[key].pop()
            if self._child.process.poll() is not None:
                close(self)
        child: Child = start(self)
        key_of[child] = key
        return child

    def keep_or_close(self: DecoderProcess) -> None:
        child = self._child
        if child is not None and child.recording is None and child.process.poll() is None:
            key = key_of[child]
            if key[0] == home and len(idle[key]) < _KEPT:
                idle[key].append(child)
                self._child = None
        close(self)

    with pytest.MonkeyPatch.context() as patch:
        for name, function in zip(OWN, (take_or_start, keep_or_close), strict=True):
            patch.setattr(DecoderProcess, name, function)
        try:
            yield
        finally:
            patch.undo()
            for child in chain(*idle.values()):
                child.close()
