"""A plugin of pytest that writes the seconds of every test to the file named by TEST_TIMES."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

SECONDS: dict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up setup, call and teardown."""
    SECONDS[report.nodeid.partition("@")[0]] += report.duration


def pytest_sessionfinish() -> None:
    """Write them, in the process that gathers the reports of all workers."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        Path(os.environ["TEST_TIMES"]).write_text(json.dumps(SECONDS))
