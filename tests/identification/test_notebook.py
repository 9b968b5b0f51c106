"""The progress bar of a notebook, with the two functions of IPython that it needs."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dawnchorus.errors import MissingExtraError
from dawnchorus.identification.notebook import NotebookProgress
from dawnchorus.identification.result import RunCounts
from dawnchorus.types import Progress


def test_the_bar_is_drawn_once_and_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def display(html: str, *, display_id: bool) -> Any:
        assert display_id
        shown.append(html)
        return SimpleNamespace(update=shown.append)

    module = ModuleType("IPython")
    module.display = SimpleNamespace(HTML=str, display=display)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    bar = NotebookProgress()
    bar(RunCounts(4).as_progress("identifying"))
    bar(RunCounts(4, n_resumed=1, n_done=1, n_failed=1, n_detections=1200).as_progress("identifying"))
    bar(Progress("training", 2, 5, "epochs", {"loss": 0.5}))
    assert shown == [
        '<progress value="0" max="4"></progress> 0 of 4 recordings, 0 detections',
        '<progress value="3" max="4"></progress> 3 of 4 recordings, 1 failed, 1200 detections',
        '<progress value="2" max="5"></progress> 2 of 5 epochs',
    ]


def test_without_ipython_the_bar_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dawnchorus\[notebook\]'"):
        NotebookProgress()
