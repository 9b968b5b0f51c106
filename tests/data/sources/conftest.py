"""Fixtures of the tests of sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.commands import Command
from tests.fixtures.xeno_canto import KEY, Fetch, XenoCanto, running


@pytest.fixture
def archive() -> Iterator[XenoCanto]:
    with running(XenoCanto()) as archive:
        yield archive


@pytest.fixture
def fetch(archive: XenoCanto, command: Command) -> Fetch:
    """Run the command against the archive: exit code, standard output, standard error."""

    def run(data_set: Path, *more: str, key: str = KEY) -> tuple[int, str, str]:
        arguments = ("fetch", "xeno-canto", "cnt:Spain", data_set, "--server", archive.url, *more)
        done = command(*arguments, XENO_CANTO_API_KEY=key, XCKEY="")
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run
