"""Values that cross folders and threads cannot be changed."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType

import pytest

CHANGING = {"Recording", "Run", "Progress", "_Entry", "ClockReport", "UnscoredReport", "_Node"}
"""Classes that collect what comes while they are used."""


@pytest.mark.parametrize(
    "package", ["archive", "audio", "formats", "identification", "inference", "models.bundle", "types"]
)
def test_dataclasses_are_frozen(package: str) -> None:
    module = importlib.import_module(f"dawnchorus.{package}")
    names = [info.name for info in pkgutil.iter_modules(getattr(module, "__path__", ()))]
    modules = [module, *_import_installed(f"{module.__name__}.{name}" for name in names)]
    classes = {
        value
        for each in modules
        for value in vars(each).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == each.__name__
    }
    assert classes
    changeable = {cls.__name__ for cls in classes if not cls.__dataclass_params__.frozen}  # type: ignore[attr-defined]
    assert changeable <= CHANGING


def _import_installed(names: Iterable[str]) -> Iterator[ModuleType]:
    """Import modules, but those that need Ray where it is not installed: `make test` does without."""
    for name in names:
        try:
            yield importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
