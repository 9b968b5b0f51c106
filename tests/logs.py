"""Sentences of the library's log, for tests that look at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dawnchorus.cli.log import ListHandler, handled_log


@contextmanager
def logged() -> Iterator[list[str]]:
    """Yield a list of the sentences that the library logs in the block."""
    handler = ListHandler()
    with handled_log(handler):
        yield handler.sentences
