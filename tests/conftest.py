"""Shared fixtures, and what prepares every test session."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from dawnchorus.audio.process import DecoderProcess
from tests.fixtures.commands import command, program
from tests.fixtures.decoders import OWN, sharing_decoders
from tests.fixtures.examples import installed_examples
from tests.fixtures.models import band_bundle, birdnet, level_bundle, shared_yamnet, store
from tests.fixtures.recordings import dawn, dawn_scene, shared_audio, spoken, voice
from tests.fixtures.training import birds, run_training, tiny

__all__ = [
    "band_bundle",
    "birdnet",
    "birds",
    "command",
    "dawn",
    "dawn_scene",
    "installed_examples",
    "level_bundle",
    "program",
    "run_training",
    "shared_audio",
    "shared_yamnet",
    "spoken",
    "store",
    "tiny",
    "voice",
]
"""Fixtures of all tests."""

settings.register_profile("quick", max_examples=30, deadline=None, database=None, derandomize=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

os.environ["HF_HUB_OFFLINE"] = "1"  # read when it is imported; nothing here asks a hub but one test with a local one

gc.set_threshold(1_000_000, 10, 10)  # until all is imported and collected: see `pytest_collection_finish`

IN_BROWSERS = ("browser", "list_pages", "overview", "pages", "review")
collect_ignore = [] if find_spec("playwright") else [f"e2e/test_{name}.py" for name in IN_BROWSERS]
"""`make test-ops` installs what a real browser needs; the quick tests do without."""

GROUPS = {
    "crowsetta": ("tests/formats/test_detections.py", "tests/formats/test_raven.py"),
    "scikit-learn": (
        "tests/evaluation/test_calibration.py",
        "tests/evaluation/test_evaluation.py",
        "tests/metrics/test_classification.py",
    ),
    "torch": (
        "tests/training/",
        "tests/contracts/test_families.py",
        "tests/evaluation/test_data_quality",
        "tests/evaluation/test_quantization",
        "tests/e2e/test_notebooks.py",
        "tests/e2e/test_gpu.py",
        "tests/e2e/test_keras_page.py",
        "tests/cli/test_train.py",
        "tests/cli/test_retrain.py",
    ),
}
"""Tests that import the same package, which takes a second or more."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares fixtures or imports: each worker of pytest-xdist would make them again.

    Those are the tests of a file, those of the installed examples, and all that import torch, which costs seconds and
    half a gigabyte. Few groups also spare pytest-xdist's scheduling, which looks at every group after every test.
    """
    for item in items:
        file = item.nodeid.partition("::")[0]
        fixtures = getattr(item, "fixturenames", ())
        group = next((name for name, files in GROUPS.items() if file.startswith(files)), file)
        if "run_training" in fixtures:
            group = "torch"
        elif "installed_examples" in fixtures:
            group = "examples"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which `-p no:xdist` leaves out
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out groups by a scheduler that does not look at those that have ended after every report of every test."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.fixtures.scheduling import GroupScheduler

    return GroupScheduler(config, log)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of the garbage collector's rounds: it stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Collect garbage once; pytest does so five times at the end, each time among all modules."""
    gc.collect()
    gc.freeze()


def pytest_configure() -> None:
    """Give each worker of pytest-xdist a core of its own: what it starts then takes one thread, not all of them."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_sessionstart() -> None:
    """Import the tests from the last on in every other worker.

    After a change of the tests each worker compiles them, assertions and all, which takes seconds. From both ends, each
    finds compiled in the middle what the other has come to.
    """
    if int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2 == 0:
        return
    root = Path(__file__).parent.parent
    for path in sorted(root.glob("tests/**/test_*.py"), reverse=True):
        with suppress(Exception, pytest.skip.Exception):  # which the collection will say
            import_module(".".join(path.relative_to(root).with_suffix("").parts))


@pytest.fixture(scope="session", autouse=True)
def shared_decoders() -> Iterator[None]:
    """Keep decoders from test to test."""
    with sharing_decoders():
        yield


@pytest.fixture
def own_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test decoders that nothing shares: it looks at how they start and end."""
    for name, method in OWN.items():
        monkeypatch.setattr(DecoderProcess, name, method)
