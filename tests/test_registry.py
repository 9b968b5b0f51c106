"""Registries: names are unique, unknown ones get the nearest, and other packages add entries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dawnchorus.errors import InputError, PlugInError
from dawnchorus.plug_ins import PlugIn
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
    with pytest.raises(InputError, match="expected an object of type Color, got one of int"):
        registry.register(3)  # type: ignore[arg-type]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with an installed package that has an entry point for each color."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "more_colors.py").write_text(
        "from tests.test_registry import BLUE, Color\nGREEN = Color('green')\nRED = Color('red')\nNUMBER = 3\n"
    )
    (tmp_path / "ending.py").write_text("import sys\nsys.exit('enough')\n")
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
    ("target", "cause"),
    [
        ("more_colors:RED", "color 'red': there is one of this name already. Rename one."),
        ("more_colors:NUMBER", "color: expected an object of type Color, got one of int."),
        ("more_colors:NOTHING", "AttributeError: module 'more_colors' has no attribute 'NOTHING'"),
        ("no_such_module:RED", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("ending:RED", "SystemExit: enough"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named_and_touches_no_other(package: Path, target: str, cause: str) -> None:
    package.write_text(f"[test.colors]\ngreen = more_colors:GREEN\nmore = {target}\n")
    registry = colors(RED, group="test.colors")
    assert list(registry) == ["red", "green"]
    assert registry.lookup("red") is RED
    for _ in range(2):
        with pytest.raises(PlugInError) as error:
            registry.lookup("More")
        assert str(error.value) == (
            f"color 'more' of the package more-colors 1 ({target}) cannot be used. Update or uninstall that package, "
            f"or tell its authors. Cause: {cause}"
        )
        assert error.value.__cause__ is not None
    with pytest.raises(InputError, match="expected one of red, green, got 'most'"):
        registry.lookup("most")


def test_of_two_with_one_name_the_first_is_used_and_the_other_is_logged_once(
    package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package.write_text("[test.colors]\nred = more_colors:RED\n")
    registry = colors(RED, BLUE, group="test.colors")
    for name in ("blue", "red", "red"):
        assert registry.lookup(name) in (RED, BLUE)
    assert [record.getMessage() for record in caplog.records] == [
        "color 'red' of the package more-colors 1 (more_colors:RED) cannot be used. Update or uninstall that package, "
        "or tell its authors. Cause: color 'red': there is one of this name already. Rename one."
    ]


def test_after_an_interrupt_the_registry_is_loaded_again(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    (package.parents[1] / "slow_colors.py").write_text(
        "import more_colors\n"
        "if not hasattr(more_colors, 'seen'):\n"
        "    more_colors.seen = True\n"
        "    raise KeyboardInterrupt\n"
        "YELLOW = more_colors.Color('yellow')\n"
    )
    package.write_text("[test.colors]\ngreen = more_colors:GREEN\nyellow = slow_colors:YELLOW\n")
    registry = colors(RED, group="test.colors")
    with pytest.raises(KeyboardInterrupt):
        registry.lookup("red")
    (message,) = caplog.messages
    assert message.startswith("interrupted while it was imported: color 'yellow' of the package more-colors 1")
    assert list(registry) == ["red", "green", "yellow"]
    assert not registry.broken


def test_entries_of_packages_get_guards_and_others_do_not(package: Path) -> None:
    package.write_text("[test.colors]\ngreen = more_colors:GREEN\n")
    registry = Registry(Color, (RED,), noun="color", group="test.colors", guard=lambda _, plug_in: Color(str(plug_in)))
    assert registry["red"] is RED
    assert registry["green"].name == "color 'green' of the package more-colors 1 (more_colors:GREEN)"
    assert {name: plug_in.package for name, plug_in in registry.plug_ins.items()} == {"green": "more-colors 1"}


def refuse(entry: Color, _plug_in: PlugIn) -> Color:
    raise InputError(f"{entry.name} is refused.")


def test_an_entry_that_its_guard_refuses_is_broken(package: Path) -> None:
    package.write_text("[test.colors]\ngreen = more_colors:GREEN\n")
    registry = Registry(Color, (RED,), noun="color", group="test.colors", guard=refuse)
    assert list(registry) == ["red"]
    with pytest.raises(PlugInError, match="Cause: green is refused"):
        registry.lookup("green")


def test_nearest_names_regardless_of_case() -> None:
    assert nearest("PARKET", ["csv", "Parquet", "jsonl"]) == ["Parquet"]
    assert nearest("a", ["b", "c"]) == []
    assert nearest("mel", ["mel_cnn", "melt", "x"], n=2) == ["melt", "mel_cnn"]
    assert suggestion("Xyz", ["csv"]) == ""
