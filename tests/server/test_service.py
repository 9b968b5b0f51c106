"""A service that starts in a folder of another, or of a killed one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import BusyError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.service import open_service
from dawnchorus.server.settings import Settings


def test_a_second_server_does_not_share_a_folder(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    serve(model=level_bundle.folder)
    with (
        pytest.raises(BusyError, match="another server uses this folder"),
        open_service(Settings(data=tmp_path / "server", model=level_bundle.folder)),
    ):
        pass


def test_leftovers_of_a_killed_server_are_removed(level_bundle: Bundle, tmp_path: Path) -> None:
    left = tmp_path / "server" / "spool-abc"
    left.mkdir(parents=True)
    (left / "upload-1").write_bytes(b"x")
    left.with_suffix(".lock").touch()
    of_another = tmp_path / "server" / "spool-def"
    of_another.mkdir()
    with (
        FileLock(of_another.with_suffix(".lock")),
        open_service(Settings(data=tmp_path / "server", model=level_bundle.folder)),
    ):
        assert not left.exists()
        assert of_another.exists()
    assert not list((tmp_path / "server").glob("spool-abc*"))


def test_what_ended_jobs_have_left_is_cleared(level_bundle: Bundle, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "server", model=level_bundle.folder)
    with open_service(settings) as service:
        ended, waiting = service.jobs.add("retrain", {"overrides": [], "require_approval": False}), "f" * 32
        service.jobs.cancel(ended.id)
    folder = tmp_path / "server" / "retraining"
    for job_id in (ended.id, waiting):
        (folder / job_id / "runs").mkdir(parents=True)
        (folder / job_id / "log.txt").write_text("x")
    (folder / "sounds-of-all").mkdir()
    with open_service(settings):
        wait_for(
            lambda: (
                sorted(name for _, folders, files in os.walk(folder) for name in (*folders, *files))
                == sorted([ended.id, "log.txt", "sounds-of-all"])
            )
        )
