"""Jobs: each is done once, by one; none is lost with its server; how they went can be heard again."""

from __future__ import annotations

import tempfile
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Names
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.fixtures.databases import new_database

from dawnchorus.errors import BusyError, NotFoundError
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


def test_who_waits_is_woken_by_jobs_that_are_added_and_requeued(database: Database) -> None:
    gone, here = JobQueue(database, worker_id="gone"), JobQueue(database, worker_id="here")
    n_wakes = here.n_wakes
    with pytest.raises(ZeroDivisionError), database.write() as session:
        here.insert(session, "identify", {})
        raise ZeroDivisionError
    assert here.n_wakes == n_wakes, "nothing was added"
    waiting = threading.Thread(target=here.wait, args=(n_wakes,), kwargs={"timeout_s": 3600.0})
    waiting.start()
    here.add("identify", {})
    waiting.join()
    n_wakes = here.n_wakes
    assert gone.claim("identify") is not None
    here.requeue_orphans()
    here.wait(n_wakes, timeout_s=3600.0)
    assert here.claim("identify") is not None


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


FEW = settings(max_examples=12, stateful_step_count=20, deadline=None)

OWNERS = ("one", "two")
owners = st.sampled_from(OWNERS)


class Queue(RuleBasedStateMachine):
    """Two servers that add, claim, finish, cancel and lose jobs."""

    jobs = Names("jobs")

    @initialize()
    def start(self) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self.database = new_database(Path(self._scratch.name))
        self.seconds = dict.fromkeys(OWNERS, 0.0)
        self.servers = {
            name: JobQueue(self.database, worker_id=name, monotonic=partial(self.seconds.__getitem__, name))
            for name in OWNERS
        }
        self.expected: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []

    def teardown(self) -> None:
        self.database.close()
        self._scratch.cleanup()

    @rule(target=jobs, worker_id=owners)
    def add(self, worker_id: str) -> str:
        job = self.servers[worker_id].add("identify", {"k": len(self.order)})
        self.expected[job.id] = {"status": "queued", "worker_id": None, "attempts": 0, "cancelled": False}
        self.order.append(job.id)
        return job.id

    @rule(worker_id=owners)
    def claim(self, worker_id: str) -> None:
        waiting = [job for job in self.order if self.expected.get(job, {}).get("status") == "queued"]
        job = self.servers[worker_id].claim("identify")
        if not waiting:
            assert job is None
            return
        assert job is not None
        assert job.id in waiting
        mine = self.expected[job.id]
        mine.update(status="running", worker_id=worker_id, attempts=mine["attempts"] + 1)

    @rule(job=jobs, worker_id=owners, status=st.sampled_from(["done", "failed"]))
    def end(self, job: str, worker_id: str, status: str) -> None:
        self.servers[worker_id].finish(job, status)
        mine = self.expected.get(job)
        if mine is not None and mine["status"] == "running" and mine["worker_id"] == worker_id:
            mine["status"] = status

    @rule(job=jobs, worker_id=owners)
    def cancel(self, job: str, worker_id: str) -> None:
        mine = self.expected.get(job)
        if mine is None:
            with pytest.raises(NotFoundError):
                self.servers[worker_id].cancel(job)
            return
        self.servers[worker_id].cancel(job)
        mine["cancelled"] |= mine["status"] in ("queued", "running")
        if mine["status"] == "queued":
            mine["status"] = "cancelled"

    @rule(job=jobs, worker_id=owners)
    def remove(self, job: str, worker_id: str) -> None:
        mine = self.expected.get(job)
        if mine is None:
            with pytest.raises(NotFoundError):
                self.servers[worker_id].remove(job)
        elif mine["status"] in ("queued", "running"):
            with pytest.raises(BusyError):
                self.servers[worker_id].remove(job)
        else:
            self.servers[worker_id].remove(job)
            del self.expected[job]

    @rule(worker_id=owners)
    def release(self, worker_id: str) -> None:
        self.servers[worker_id].release()
        for mine in self.expected.values():
            if mine["status"] == "running" and mine["worker_id"] == worker_id:
                mine.update(status="cancelled" if mine["cancelled"] else "queued", attempts=mine["attempts"] - 1)

    @rule(gone=owners)
    def lose_server(self, gone: str) -> None:
        """Return a server is not heard of any more, and the other one looks."""
        (other,) = set(OWNERS) - {gone}
        in_hand = [job for job, mine in self.expected.items() if mine["worker_id"] == other]
        for _ in range(2 + int(STALE_S / MAX_CHECK_INTERVAL_S)):
            self.seconds[other] += MAX_CHECK_INTERVAL_S
            self.servers[other].heartbeat(in_hand)
        for mine in self.expected.values():
            if mine["status"] == "running" and mine["worker_id"] == gone:
                given_up = "failed" if mine["attempts"] >= MAX_ATTEMPTS else "queued"
                mine["status"] = "cancelled" if mine["cancelled"] else given_up

    @invariant()
    def every_job_is_where_it_should_be(self) -> None:
        if not hasattr(self, "expected"):
            return
        n, recordings = self.servers["one"].find(limit=1000)
        assert n == len(recordings) == len(self.expected)
        for job in recordings:
            mine = self.expected[job.id]
            assert (job.status, job.attempts) == (mine["status"], mine["attempts"]), mine
            wanted = mine["status"] == "running" and not mine["cancelled"]
            assert self.servers[mine["worker_id"] or "one"].should_continue(job.id) == wanted
            progress = [event.data["progress"] for event in self.servers["one"].events(job.id)]
            assert progress == sorted(progress)


def test_jobs_are_where_they_should_be_after_any_calls() -> None:
    run_state_machine_as_test(Queue, settings=FEW)
