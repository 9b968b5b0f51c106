"""Tests are where the modules are that they test."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.parent / "src" / "dawnchorus"
ACROSS = ("contracts", "e2e", "golden")
"""Folders of tests that are of no one module."""


def is_of_a_module(path: Path) -> bool:
    """Tell whether a path below `tests` is in `ACROSS`, or named for a module or package at the same place."""
    module = PACKAGE / path.parent / path.stem.removeprefix("test_")
    return path.parts[0] in ACROSS or module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()


def test_every_test_file_is_named_for_a_module() -> None:
    files = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("test_*.py"))]
    assert len(files) > 100
    misplaced = [f"tests/{path}" for path in files if not is_of_a_module(path)]
    assert misplaced == [], "tests/a/test_b.py tests src/dawnchorus/a/b.py; CONTRIBUTING.md says where others go"


def test_a_file_without_a_module_is_noticed() -> None:
    paths = (
        "audio/test_decode.py",
        "server/http/test_routes.py",
        "e2e/test_speech.py",
        "audio/test_speech.py",
        "test_x.py",
    )
    assert [is_of_a_module(Path(path)) for path in paths] == [True, True, True, False, False]


def test_tests_of_a_group_run_in_one_worker(request: pytest.FixtureRequest) -> None:
    """pytest-xdist reads the marks of `tests/conftest.py`: without them, each worker imports and makes everything."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not a worker of pytest-xdist with --dist loadgroup")
    assert request.node.nodeid.endswith("@tests/contracts/test_layout.py")
