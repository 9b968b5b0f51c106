"""Tables on a terminal."""

from __future__ import annotations

import io
from functools import partial

import pytest
from rich.console import Console
from rich.table import Table

from dawnchorus.cli import present


def test_a_narrow_terminal_gets_fewer_columns_not_cut_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for width, expected in ((60, True), (12, False)):
        terminal = Terminal()
        make = partial(Console, file=terminal)
        monkeypatch.setattr(present, "Console", lambda make=make, width=width, **more: make(**{"width": width, **more}))
        table = Table(box=None)
        for column in ("run", "score", "note"):
            table.add_column(column)
        table.add_row("a-name-of-22-characters", "[bold]", "x" * 40)
        present.print_table(table, optional=("score", "note"))
        shown = terminal.getvalue()
        assert "note" not in shown
        assert ("[bold]" in shown) is expected, "text as it stands"
        assert "…" not in shown
        assert "a-name-of-22-characters" in "".join(line.strip() for line in shown.splitlines())
