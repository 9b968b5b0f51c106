"""Registries: names are unique, unknown ones get the nearest, and other packages add entries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dawnchorus.errors import InputError
from dawnchorus.registry import Registry
from dawnchorus.suggestions import nearest, suggestion


@dataclass(frozen=True)
class Color:
    name: str


RED, BLUE = Color("red"), Color("blue")


def colors(*builtin: Color, group: str = "dawnchorus.colors") -> Registry[Color]:
    return Registry(Color, builtin, noun="color", group=group)


def test_lookup_ignores_case_and_an_unknown_name_gets_the_nearest() -> None:
    registry = colors(RED, BLUE)
    assert list(registry) == ["red", "blue"]
    assert registry.lookup("Red") is RED
    assert registry["blue"] is BLUE
    assert registry.get("green") is None
    with pytest.raises(InputError, match=r"color: expected one of red, blue, got 'bleu'\. Did you mean 'blue'\?"):
        registry.lookup("bleu")


def test_duplicates_and_foreign_objects_are_refused() -> None:
    with pytest.raises(InputError, match="'red'.*there is one of this name already"):
        colors(RED, Color("red"))
    registry = colors(RED)
    registry.register(BLUE)
    registry.register(BLUE)
    assert len(registry) == 2
    with pytest.raises(InputError, match="'blue'.*there is one of this name already"):
        registry.register(Color("blue"))
    with pytest.raises(InputError, match="lower case"):
        registry.register(Color("Green"))
    with pytest.raises(InputError, match="an object of type int, expected Color"):
        registry.register(3)  # type: ignore[arg-type]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with an installed package that has an entry point for each color."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "more_colors.py").write_text(
        "from tests.test_registry import BLUE, Color\nGREEN = Color('green')\nRED = Color('red')\nNUMBER = 3\n"
    )
    info = tmp_path / "more_colors-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: more-colors\nVersion: 1\n")
    return info / "entry_points.txt"


def test_an_installed_package_adds_an_entry(package: Path) -> None:
    package.write_text("[test.colors]\ngreen = more_colors:GREEN\n")
    registry = colors(RED, group="test.colors")
    assert list(registry) == ["red", "green"]
    assert registry.lookup("green").name == "green"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("more_colors:RED", r"color 'red' of the package more-colors \(more_colors:RED\): there is one of this name"),
        ("more_colors:NUMBER", "the package more-colors .* gives an object of type int"),
        ("more_colors:NOTHING", "the package more-colors .* cannot be loaded: AttributeError"),
        ("no_such_module:RED", "the package more-colors .* cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_a_package_that_adds_something_else_is_named(package: Path, target: str, message: str) -> None:
    package.write_text(f"[test.colors]\nmore = {target}\n")
    registry = colors(RED, group="test.colors")
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            registry.lookup("red")


def test_nearest_names_regardless_of_case() -> None:
    assert nearest("PARKET", ["csv", "Parquet", "jsonl"]) == ["Parquet"]
    assert nearest("a", ["b", "c"]) == []
    assert nearest("mel", ["mel_cnn", "melt", "x"], n=2) == ["melt", "mel_cnn"]
    assert suggestion("Xyz", ["csv"]) == ""
