"""Background threads of a server."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server import workers
from dawnchorus.server.model_switcher import ModelSwitcher
from dawnchorus.server.service import open_service
from dawnchorus.server.settings import Settings


def test_a_model_of_another_server_that_cannot_be_opened_is_logged_once(
    level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[str] = []

    def fail(_switcher: ModelSwitcher) -> None:
        attempts.append("once more")
        raise ModelError("the bundle abc cannot be unpacked.")

    monkeypatch.setattr(ModelSwitcher, "follow", fail)
    monkeypatch.setattr(workers, "FOLLOW_S", 0.001)
    with (
        caplog.at_level(logging.ERROR, workers.__name__),
        open_service(Settings(data=tmp_path / "server", model=level_bundle.folder)),
    ):
        wait_for(lambda: len(attempts) > 3)
    assert len([record for record in caplog.records if record.name == workers.__name__]) == 1
