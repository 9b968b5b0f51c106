"""Docstrings open with what a thing is or does, and not with a relative clause: ruff checks the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import dawnchorus

RELATIVE = {"How", "Let", "So", "That", "Those", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"}


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the strings that describe modules, classes, functions and the names above them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                value = statement.value if isinstance(statement, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value


def test_no_docstring_opens_with_a_relative_clause() -> None:
    source = Path(dawnchorus.__file__).parent
    found = [
        f"{path.relative_to(source)}:{text.lineno}: {str(text.value).strip()[:60]}"
        for path in sorted(source.rglob("*.py"))
        for text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if str(text.value).split(maxsplit=1)[0].strip("\"'(*,") in RELATIVE
    ]
    assert found == []
