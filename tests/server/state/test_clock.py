"""Clocks that jump."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.fixtures.databases import new_database
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle
from dawnchorus.server import history
from dawnchorus.server.state import clock, job_queue, tables
from dawnchorus.server.state.job_queue import JobQueue

pytestmark = pytest.mark.usefixtures("own_decoders")


def test_clocks_that_jump_give_no_job_away_and_make_no_age_negative(
    level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock.now
    jump = [timedelta()]
    for module in (job_queue, history, tables):
        monkeypatch.setattr(module, "now", lambda: real() + jump[0])
    database = new_database(tmp_path)
    mine, other = JobQueue(database, worker_id="mine"), JobQueue(database, worker_id="other")
    job = mine.add("identify", {})
    claimed = mine.claim("identify")
    assert claimed is not None
    for hours in (-5, 3, -1000, 0):
        jump[0] = timedelta(hours=hours)
        mine.heartbeat((job.id,))  # each server says often that it lives, by the clock as it is then
        other.heartbeat(())
        assert mine.should_continue(job.id), hours
    jump[0] = timedelta(hours=-1)  # as at the end of summer time, for clocks that know of it
    mine.finish(job.id, "done")
    ended = mine.get(job.id)
    assert ended.status == "done"
    assert ended.ended_at is not None
    assert ended.ended_at.tzinfo is not None
    assert [event.id for event in mine.events(job.id)] == sorted(event.id for event in mine.events(job.id))

    client = serve(model=level_bundle.folder)
    client.post("/api/v1/identify?store=true", content=tone.read_bytes())
    jump[0] = timedelta(days=-400)
    again = client.post("/api/v1/identify?store=true&background=true", content=tone.read_bytes()).json()
    wait_for(lambda: client.get(f"/api/v1/jobs/{again['id']}").json()["status"] == "done")
    for page in ("/", "/recordings", "/system", "/training", "/models"):
        text = client.get(page).text
        assert not re.search(r">\s*-\d", text), page
    # Times without a zone are UTC, as all that are stored.
    added = datetime.fromisoformat(client.get("/api/v1/recordings").json()["recordings"][0]["added_at"])
    assert added.tzinfo is not None
    naive = (added.astimezone(UTC) - timedelta(seconds=1)).replace(tzinfo=None).isoformat()
    for since in (naive, f"{naive}Z", f"{naive}+00:00"):
        assert client.get("/api/v1/detections", params={"since": since}).json()["total"] > 0, since
