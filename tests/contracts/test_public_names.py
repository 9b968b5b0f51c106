"""The public names: all are there, documented and typed, and `import dawnchorus` loads nothing for them."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

import dawnchorus
from dawnchorus import errors
from dawnchorus.identification.options import OptionFields, Options

ROOT = Path(__file__).parents[2]
STUB = ast.parse(Path(dawnchorus.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))


def test_every_public_name_can_be_imported_and_nothing_else() -> None:
    for name in dawnchorus.__all__:
        assert getattr(dawnchorus, name) is not None
        assert name in dir(dawnchorus)
    with pytest.raises(AttributeError, match="no attribute 'identifi'"):
        dawnchorus.identifi  # noqa: B018


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    imported = {
        alias.name: node.module for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == {name: f"dawnchorus.{module}" for name, module in dawnchorus._MODULES.items()}
    (listed,) = (node.value for node in STUB.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(dawnchorus.__all__)


def test_all_errors_are_public() -> None:
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree <= set(dawnchorus.__all__)


def test_every_public_name_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "PYTHON.md").read_text(encoding="utf-8")
    assert [name for name in dawnchorus.__all__ if f"`{name}`" not in text and f"dc.{name}" not in text] == []


def test_help_explains_every_field_of_a_public_class() -> None:
    classes = {name: value for name in dawnchorus.__all__ if is_dataclass(value := getattr(dawnchorus, name))}
    assert [
        f"{name}.{field.name}"
        for name, value in classes.items()
        for field in fields(value)
        if f"{field.name}:" not in (value.__doc__ or "") and not field.name.startswith("_")
    ] == []


def test_importing_the_package_loads_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import dawnchorus; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)); "
        "dawnchorus.InputError, dawnchorus.Detection, dawnchorus.Label; "
        "print(*sorted({'torch', 'pyarrow', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["dawnchorus", ""]


def test_options_as_keywords_have_the_fields_of_options() -> None:
    assert get_type_hints(OptionFields) == get_type_hints(Options)
    assert list(OptionFields.__annotations__) == [field.name for field in fields(Options)]
