"""Waiting for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def wait_for(condition: Callable[[], Result], *, within_s: float = 120.0) -> Result:
    """Return the result of `condition()` as soon as it is true.

    Raises:
        AssertionError: If it is not within `within_s`, which only keeps a broken test from hanging.
    """
    until = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < until, f"did not come true within {within_s} s"
        time.sleep(0.02)
    return found
