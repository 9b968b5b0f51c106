"""Decoders that tests share: one that has decoded well is kept for the next test, since a start costs 0.16 s."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import pytest

from dawnchorus.audio.process import DecoderProcess

OWN = {name: getattr(DecoderProcess, name) for name in ("_start", "close", "_exchange")}
"""Methods of decoders that nothing shares."""

Process = Popen[bytes]
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
    start, close, ask = OWN.values()
    idle: defaultdict[Key, list[tuple[Any, ...]]] = defaultdict(list)
    key_of: WeakKeyDictionary[Process, Key] = WeakKeyDictionary()
    whole: WeakSet[Process] = WeakSet()
    """Processes that owe no reply."""

    def take_or_start(self: DecoderProcess) -> Any:
        key = _key(self)
        while self._process is None and idle[key]:
            self._process, self._ring, self._watchdog = idle[key].pop()
            if self._process is not None and self._process.poll() is not None:
                close(self)
        process, watchdog = start(self)
        key_of[process] = key
        return process, watchdog

    def ask_and_note(self: DecoderProcess, *arguments: Any) -> Iterator[Any]:
        if self._process is not None:
            whole.discard(self._process)
        yielded = ask(self, *arguments)
        try:
            yield from yielded
        finally:
            if self._process is not None and self._request is None:  # not closed in the midst of a recording
                whole.add(self._process)

    def keep_or_close(self: DecoderProcess) -> None:
        process = self._process
        if process is not None and process in whole and process.poll() is None:
            key = key_of[process]
            if key[0] == home and len(idle[key]) < _KEPT:
                whole.discard(process)
                idle[key].append((process, self._ring, self._watchdog))
                self._process = self._ring = self._watchdog = None
        close(self)

    with pytest.MonkeyPatch.context() as patch:
        for name, function in zip(OWN, (take_or_start, keep_or_close, ask_and_note), strict=True):
            patch.setattr(DecoderProcess, name, function)
        try:
            yield
        finally:
            patch.undo()
            _close_all(idle.values())


def _close_all(idle: Iterable[list[tuple[Any, ...]]]) -> None:
    for states in idle:
        for state in states:
            decoder = DecoderProcess()
            decoder._process, decoder._ring, decoder._watchdog = state
            decoder.close()
