"""Jobs: each is done once, by one; none is lost with its server; how they went can be heard again."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from tests.fixtures.databases import new_database
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import BusyError, NotFoundError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.job_queue import MAX_ATTEMPTS, MAX_CHECK_INTERVAL_S, STALE_S, JobQueue


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return new_database(tmp_path)


def test_each_job_is_done_by_one(database: Database) -> None:
    servers = [JobQueue(database, worker_id=f"server {k}") for k in range(4)]
    for k in range(40):
        servers[0].add("identify", {"k": k})
    claimed: list[int] = []

    def work(jobs: JobQueue) -> None:
        while (job := jobs.claim("identify")) is not None:
            claimed.append(job.parameters["k"])
            jobs.finish(job.id, "done")

    threads = [threading.Thread(target=work, args=(jobs,)) for jobs in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(40))
    assert servers[0].count_by_status(("queued", "running", "done")) == {"queued": 0, "running": 0, "done": 40}


def test_one_retraining_at_a_time(database: Database) -> None:
    one, two = JobQueue(database, worker_id="one"), JobQueue(database, worker_id="two")
    first = one.add("retrain", {})
    with pytest.raises(BusyError, match="in progress"):
        two.add("retrain", {})
    assert two.claim("retrain")
    with pytest.raises(BusyError):
        one.add("retrain", {})
    two.finish(first.id, "failed", error="x")
    assert one.add("retrain", {}).status == "queued"


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


N_CHECKS = 1 + int(STALE_S / MAX_CHECK_INTERVAL_S)
"""Looks at the same heartbeat, as far apart as they count, after which a server is not yet gone."""


def look(jobs: JobQueue, clock: Clock, n_looks: int = 1) -> None:
    """Make a server look so often."""
    for _ in range(n_looks):
        clock.now_s += MAX_CHECK_INTERVAL_S
        jobs.heartbeat(())


def test_jobs_of_a_dead_server_are_requeued_and_crashing_jobs_fail(database: Database) -> None:
    clock = Clock()
    gone, here = JobQueue(database, worker_id="gone"), JobQueue(database, worker_id="here", monotonic=clock)
    job = gone.add("identify", {})
    for attempt in range(MAX_ATTEMPTS):
        assert (claimed := gone.claim("identify"))
        assert claimed.attempts == attempt + 1
        look(here, clock, N_CHECKS)
        assert here.get(job.id).status == "running", "it was heard of just now"
        look(here, clock)
        gone.update_progress(job.id, "too late", 0.5)
        gone.finish(job.id, "done")
    job_here = here.get(job.id)
    assert job_here.status == "failed"
    assert "not retried" in (job_here.error or "")
    assert job_here.progress == 0


@pytest.mark.parametrize("offset", [timedelta(minutes=1), timedelta(days=-1), timedelta(days=400)])
def test_a_server_with_another_clock_takes_no_job_and_loses_none(
    database: Database, offset: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers; the clock of one is wrong, and jumps back each time that it is read."""
    clock = Clock()
    right, wrong = (JobQueue(database, worker_id=name, monotonic=clock) for name in ("right", "wrong"))
    shift = timedelta()
    monkeypatch.setattr("dawnchorus.server.state.job_queue.now", lambda: now() + shift)

    def heartbeat(server: JobQueue, *in_hand: str) -> None:
        nonlocal shift
        shift = offset - timedelta(seconds=2 * clock.now_s) if server is wrong else timedelta()
        server.heartbeat(in_hand)

    for worker, other in ((right, wrong), (wrong, right)):
        job = worker.add("identify", {})
        assert worker.claim("identify")
        for _ in range(N_CHECKS + 2):
            clock.now_s += MAX_CHECK_INTERVAL_S
            heartbeat(worker, job.id)
            heartbeat(other)
            assert worker.should_continue(job.id), clock.now_s
        worker.finish(job.id, "done")
        assert (worker.get(job.id).status, worker.get(job.id).attempts) == ("done", 1)


def test_server_requeues_nothing_after_its_own_database_outage(database: Database) -> None:
    """Both were asleep for an hour, or the database was away: who looks first finds an old heartbeat."""
    clock = Clock()
    mine, other = (
        JobQueue(database, worker_id="mine", monotonic=clock),
        JobQueue(database, worker_id="other", monotonic=clock),
    )
    job = mine.add("identify", {})
    mine.claim("identify")
    look(other, clock, 2)
    clock.now_s += 3600
    other.heartbeat(())
    assert mine.should_continue(job.id)
    mine.heartbeat((job.id,))
    look(other, clock, N_CHECKS)
    assert mine.should_continue(job.id)
    look(other, clock)
    assert not mine.should_continue(job.id)


def test_jobs_are_done_in_the_order_they_came_by_whatever_clock(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = JobQueue(database, worker_id="one")
    ids = []
    for hours in (24, 0, -24):
        monkeypatch.setattr("dawnchorus.server.state.tables.now", lambda hours=hours: now() + timedelta(hours=hours))
        ids.append(jobs.add("identify", {"k": hours}).id)
    claimed = [jobs.claim("identify") for _ in ids]
    assert [job.id for job in claimed if job] == ids


def test_progress_never_goes_back_and_ends_whole(database: Database) -> None:
    jobs = JobQueue(database, worker_id="one")
    job = jobs.add("identify", {})
    jobs.claim("identify")
    for share in (0.2, 0.5, 0.3, 0.9):
        jobs.update_progress(job.id, "identifying", share)
    jobs.finish(job.id, "done", result={"x": 1})
    jobs.finish(job.id, "failed", error="too late")
    shown = [event.data["progress"] for event in jobs.events(job.id)]
    assert shown == sorted(shown)
    assert shown[-1] == 1
    assert jobs.get(job.id).status == "done"
    events = jobs.events(job.id)
    assert [e.id for e in jobs.events(job.id, after=events[2].id)] == [e.id for e in events[3:]]


def test_cancelling(database: Database) -> None:
    jobs = JobQueue(database, worker_id="one")
    waiting = jobs.add("identify", {})
    assert jobs.cancel(waiting.id).status == "cancelled"
    assert jobs.claim("identify") is None
    running = jobs.add("identify", {})
    jobs.claim("identify")
    assert jobs.cancel(running.id).status == "running"
    assert not jobs.should_continue(running.id)
    with pytest.raises(BusyError):
        jobs.remove(running.id)
    jobs.release()
    assert jobs.get(running.id).status == "cancelled"
    jobs.remove(running.id)
    with pytest.raises(NotFoundError):
        jobs.get(running.id)


def detected(client: httpx.Client, url: str, after: str | None = None) -> list[tuple[str, dict[str, object]]]:
    """Return number and data of the events of a job, to its end."""
    updates, event = [], {}
    with client.stream("GET", url, headers={"Last-Event-ID": after} if after else {}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            name, _, value = line.partition(": ")
            event[name] = value
            if line:
                continue
            if event.get("event") == "end":
                return updates
            if "data" in event:
                updates.append((event["id"], json.loads(event["data"])))
            event = {}
    raise AssertionError("the stream ended before the job")


def test_long_recording_is_a_job_with_stored_audio(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "LONG_20260501_034500.wav"
    audio = np.full(1_000 * 16_000, 0.1, np.float32)
    audio[500 * 16_000 : 501 * 16_000] = 0.9
    soundfile.write(path, audio, 16_000)
    client = serve(model=level_bundle.folder)
    with path.open("rb") as file:
        reply = client.post("/api/v1/identify?min_score=0.8", files={"audio": (path.name, file)})
    assert reply.status_code == 202, reply.text
    job = reply.json()
    assert reply.headers["location"] == f"/api/v1/jobs/{job['id']}"
    events = detected(client, job["events"])
    assert [data["progress"] for _, data in events] == sorted(data["progress"] for _, data in events)
    assert events[-1][1]["status"] == "done"
    assert detected(client, job["events"], after=events[1][0]) == events[2:]
    done = client.get(f"/api/v1/jobs/{job['id']}").json()
    detections = client.get(f"/api/v1/recordings/{done['result']['recording']}/detections").json()["detections"]
    loud = [row for row in detections if row["common_name"] == "Loud Bird"]
    assert [(row["start_s"], row["score"]) for row in loud] == [(500.0, pytest.approx(0.9, abs=1e-3))]
    assert loud[0]["clock_time"] == "2026-05-01T03:53:20"
    answered = client.post("/api/v1/identify?min_score=0.8&background=false", content=path.read_bytes()).json()
    assert len(answered["detections"]) == len(detections)
    for name in ("csv", "raven", "audacity", "json"):
        table = client.get(f"/api/v1/recordings/{done['result']['recording']}/detections?format={name}")
        assert table.status_code == 200
        assert table.content


def test_undecodable_recording_is_reported_by_upload_name_and_deleted(
    level_bundle: Bundle, serve: Serve, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder)
    sent = client.post("/api/v1/identify?background=true", files={"audio": ("mine.wav", b"no sound")}).json()
    wait_for(lambda: client.get(f"/api/v1/jobs/{sent['id']}").json()["status"] == "failed")
    error = client.get(f"/api/v1/jobs/{sent['id']}").json()["error"]
    assert "mine.wav" in error
    assert "/tmp" not in error
    store = tmp_path / "server" / "files"
    wait_for(lambda: not [path for path in store.rglob("*") if path.is_file()])


def test_a_job_is_cancelled_within_seconds(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(5 * 3600 * 8_000, np.int16), 8_000)
    client = serve(model=level_bundle.folder)
    job = client.post("/api/v1/identify", content=path.read_bytes()).json()
    wait_for(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "running")
    client.post(f"/api/v1/jobs/{job['id']}/cancel")
    wait_for(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "cancelled", within_s=30)
    assert client.delete(f"/api/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/api/v1/jobs/{job['id']}").status_code == 404
