"""Docstrings open with a noun phrase, those of functions with a verb: ruff's D401 lets other words than verbs pass."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "bench", "tests")
RELATIVE = {"How", "Let", "So", "That", "Those", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"}
DETERMINERS = {"A", "All", "An", "Any", "As", "Each", "Every", "For", "Its", "No", "None", "Of", "One", "The", "Two"}
PROPERTIES = {"cached_property", "composite", "fixture", "property"}

RELATIVE_OPENING = re.compile(rf'"""\W*(?:{"|".join(RELATIVE)})\b')
DETERMINER_OPENING = re.compile(rf'(?m)^(?!\s*class\b).*:(?:\s*#.*)?\n\s*r?"""\W*(?:{"|".join(DETERMINERS)})\b')
"""Openings of such docstrings, which few files have: to parse all takes seconds. Ruff's D300 holds the quotes."""

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def definitions(node: ast.AST) -> Iterator[Definition]:
    """Yield a module and the classes and functions inside it; unlike `ast.walk`, without a look at expressions."""
    if isinstance(node, Definition):
        yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from definitions(child)


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the strings that describe modules, classes, functions and the names above them."""
    for node in definitions(tree):
        for statement in node.body:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value


def first_word(docstring: str) -> str:
    return docstring.split(maxsplit=1)[0].strip("\"'(*,")


def is_function(node: Definition) -> bool:
    """Return True for functions that do something: properties, fixtures and tests are described by a noun."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("test_"):
        return False
    return PROPERTIES.isdisjoint(re.split(r"\W", " ".join(map(ast.unparse, node.decorator_list))))


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Texts of all modules by path."""
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def parse(sources: dict[str, str], opening: re.Pattern[str]) -> dict[str, ast.Module]:
    """Return the syntax trees of the modules that have such an opening."""
    return {path: ast.parse(text) for path, text in sources.items() if opening.search(text)}


def test_no_docstring_opens_with_a_relative_clause(sources: dict[str, str]) -> None:
    assert [
        f"{path}:{text.lineno}: {str(text.value).strip()[:60]}"
        for path, tree in parse(sources, RELATIVE_OPENING).items()
        for text in docstrings(tree)
        if first_word(str(text.value)) in RELATIVE
    ] == []


def test_docstrings_of_functions_open_with_a_verb(sources: dict[str, str]) -> None:
    assert [
        f"{path}:{node.lineno}: {text[:60]}"
        for path, tree in parse(sources, DETERMINER_OPENING).items()
        for node in definitions(tree)
        if is_function(node) and (text := ast.get_docstring(node)) and first_word(text) in DETERMINERS
    ] == []
