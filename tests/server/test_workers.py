"""Background threads of a server."""

from __future__ import annotations

import logging
import threading

import pytest

from dawnchorus.errors import ModelError
from dawnchorus.server.workers import repeat


def test_periodic_task_is_repeated_and_each_error_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    same = "cannot be unpacked."
    errors = [ModelError(same), ModelError(same), None, ModelError(same)]
    stop = threading.Event()

    def task() -> None:
        error = errors.pop(0)
        if not errors:
            stop.set()
        if error is not None:
            raise error

    with caplog.at_level(logging.ERROR):
        repeat(0.0, task, stop)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [same, same]
