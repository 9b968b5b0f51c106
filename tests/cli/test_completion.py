"""Scripts for completion."""

from __future__ import annotations

import pytest
from tests.fixtures.commands import Command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(command: Command, shell: str) -> None:
    done = command("completion", shell)
    assert b"_DAWNCHORUS_COMPLETE" in done.stdout
