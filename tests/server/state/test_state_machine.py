"""The queue of jobs and the registry of models, against models of them in a few lines, for any order of calls."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Names
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.fixtures.databases import new_database
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph

from dawnchorus.errors import BusyError, InputError, NotFoundError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.models.store import ModelStore
from dawnchorus.server.model_catalog import MAX_LISTED, ModelCatalog
from dawnchorus.server.model_switcher import ModelSwitcher
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.job_queue import MAX_ATTEMPTS, MAX_CHECK_INTERVAL_S, STALE_S, JobQueue

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


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Four models."""
    folder = tmp_path_factory.mktemp("bundles")
    made = []
    for k in range(4):
        graph = level_graph(folder / f"{k}.onnx", window_samples=4_000 * (k + 1))
        metadata = replace(LEVEL, name=f"model-{k}", window_s=0.25 * (k + 1))
        made.append(wrap_model(graph, folder / f"{k}", labels=LEVEL_LABELS, description=metadata))
    return made


def test_registry_serves_what_was_activated_last(bundles: list[Bundle], store: ModelStore) -> None:
    class Models(RuleBasedStateMachine):
        """Two servers that add, activate and roll back models, and follow each other."""

        @initialize()
        def start(self) -> None:
            self._scratch = tempfile.TemporaryDirectory()
            folder = Path(self._scratch.name)
            self.database = new_database(folder)
            files = BlobStore(self.database, folder / "files", cache=folder / "cache", scratch=folder)
            self.pools: list[InferencePool] = []
            self.servers: list[tuple[ModelCatalog, ModelSwitcher]] = []
            for k in range(2):
                catalog = ModelCatalog(
                    self.database, files, store, given=bundles[0].folder, folder=folder / f"models{k}", scratch=folder
                )
                first = catalog.open_active(is_alone=False)
                pool = InferencePool(first.bundle, store=store, n_inference_threads=1)
                self.pools.append(pool)
                self.servers.append((catalog, ModelSwitcher(catalog, pool, activation_id=first.activation_id)))
            self.known = {bundles[0].id}
            self.served = [bundles[0].id]

        def teardown(self) -> None:
            for pool in self.pools:
                pool.close()
            self.database.close()
            self._scratch.cleanup()

        @rule(k=st.integers(1, 3), server=st.integers(0, 1))
        def add(self, k: int, server: int) -> None:
            self.servers[server][0].add(bundles[k], job="0" * 32, report={})
            self.known.add(bundles[k].id)

        @rule(k=st.integers(0, 3), server=st.integers(0, 1))
        def activate(self, k: int, server: int) -> None:
            bundle_id = bundles[k].id
            if bundle_id not in self.known:
                with pytest.raises(NotFoundError):
                    self.servers[server][1].activate(bundle_id, "because")
                return
            self.servers[server][1].activate(bundle_id, "because")
            self.served.append(bundle_id)

        @rule(server=st.integers(0, 1))
        def roll_back(self, server: int) -> None:
            before = next((name for name in reversed(self.served) if name != self.served[-1]), None)
            assert self.servers[server][0].previous_id() == before
            if before is None:
                with pytest.raises(InputError, match="nothing to roll back"):
                    self.servers[server][1].roll_back()
                return
            assert self.servers[server][1].roll_back() == before
            self.served.append(before)

        @invariant()
        def all_serve_the_last_one(self) -> None:
            if not hasattr(self, "served"):
                return
            for catalog, switcher in self.servers:
                switcher.follow()
                assert switcher.active.id == self.served[-1]
                assert {model.bundle_id for model in catalog.list_models()} == self.known
                activations = catalog.list_activations()
                assert [row.bundle_id for row, _ in activations] == self.served[: -MAX_LISTED - 1 : -1]

    run_state_machine_as_test(Models, settings=settings(FEW, max_examples=6))
