"""Files of workers, by which running and lost units are told apart."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dawnchorus.archive.archive import create_archive
from dawnchorus.archive.workers import LOST_AFTER_S, Worker, read_workers


def test_a_worker_is_seen_while_it_works(tmp_path: Path) -> None:
    location = create_archive(tmp_path / "archive").location
    with Worker(location, "r", "1/2") as worker:
        worker.beat(["1-000000"])
        (state,) = read_workers(location)
        assert (state.id, state.pid, state.run, state.shard) == (worker.id, os.getpid(), "r", "1/2")
        assert (state.units, state.is_lost) == (("1-000000",), False)
        old = time.time() - LOST_AFTER_S - 10
        os.utime(location.root / worker.name, (old, old))
        assert [each.is_lost for each in read_workers(location)] == [True]
    assert read_workers(location) == []


def test_a_file_is_written_when_units_change(tmp_path: Path) -> None:
    location = create_archive(tmp_path / "archive").location
    with Worker(location, "r", "1/1") as worker:
        before = (location.root / worker.name).stat().st_mtime_ns
        worker.beat(())
        assert (location.root / worker.name).stat().st_mtime_ns == before
        worker.beat(["1-000001"])
        assert read_workers(location)[0].units == ("1-000001",)
