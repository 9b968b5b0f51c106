"""The simulation of `python -m bench scale` where the result is known without it."""

from __future__ import annotations

import random

import pytest
from bench.simulation import CommitLog, Process, SharedResource, Simulation


def use(resource: SharedResource, *amounts: float) -> Process:
    for amount in amounts:
        yield resource.use(amount)


def commit(log: CommitLog, n: int) -> Process:
    for _ in range(n):
        yield log.commit
        assert log.last is not None
        assert log.last.is_won


@pytest.mark.parametrize(("n_jobs", "n_others", "expected_s"), [(1, 0, 6.0), (2, 0, 6.0), (4, 0, 12.0), (2, 2, 12.0)])
def test_cores_are_shared_equally_and_a_job_uses_one(n_jobs: int, n_others: int, expected_s: float) -> None:
    simulation = Simulation()
    cores = SharedResource(simulation, capacity=2.0, limit=1.0, n_others=n_others)
    for _ in range(n_jobs):
        simulation.start(use(cores, 1.0, 2.0, 3.0))
    simulation.run()
    assert simulation.now_s == pytest.approx(expected_s)
    assert cores.busy == pytest.approx(6.0 * n_jobs)


def test_a_short_job_leaves_the_rest_to_the_long_one() -> None:
    simulation = Simulation()
    network = SharedResource(simulation, capacity=10.0, limit=10.0)
    ends = [simulation.start(use(network, amount)) for amount in (10.0, 30.0)]
    times_s: list[float] = []
    for end in ends:
        end.wait(lambda: times_s.append(simulation.now_s))
    simulation.run()
    assert times_s == pytest.approx([2.0, 4.0])


def test_one_writer_pays_for_writing_and_many_take_turns() -> None:
    for n_writers, expected_s in ((1, 5 * 0.1), (10, 0.1 + 49 * 0.3)):
        simulation = Simulation()
        log = CommitLog(simulation, put_s=0.1, retry_s=0.2, max_tries=300, rng=random.Random(1))
        for _ in range(n_writers):
            simulation.start(commit(log, 5))
        simulation.run()
        assert simulation.now_s == pytest.approx(expected_s, abs=0.35)
        assert log.n_versions == 5 * n_writers
        assert (log.n_conflicts > 0) == (n_writers > 1)
