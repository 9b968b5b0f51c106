"""Learning rates."""

from __future__ import annotations

import pytest
import torch
from tests.fixtures.networks import build
from tests.fixtures.training import SMALL, Train

from dawnchorus.models.store import ModelStore
from dawnchorus.training.config import OptimizerConfig, SchedulerConfig
from dawnchorus.training.families import Network
from dawnchorus.training.schedules import build_optimizer, build_scheduler


def rates(config: SchedulerConfig, network: Network, *, n_epochs: int) -> list[float]:
    """Return the learning rate in each epoch."""
    optimizer = build_optimizer(OptimizerConfig(lr=1.0), network)
    scheduler = build_scheduler(config, optimizer, n_steps=100)
    assert scheduler is not None
    learning_rates = []
    for _ in range(n_epochs):
        learning_rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return learning_rates


def test_the_rate_falls_in_steps_or_starts_anew(store: ModelStore) -> None:
    network = build(store, *SMALL)
    step = rates(SchedulerConfig(name="step", step_size=2, gamma=0.1), network, n_epochs=5)
    assert step == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    restarts = rates(SchedulerConfig(name="warm_restarts", restart_epochs=2, restart_factor=2), network, n_epochs=7)
    assert restarts == pytest.approx([1, 0.5, 1, 0.8536, 0.5, 0.1464, 1], abs=1e-4)


def test_the_schedule_of_steps_counts_epochs(run_training: Train) -> None:
    settings = (*SMALL, "trainer.epochs=4", "scheduler=step", "scheduler.step_size=2", "scheduler.gamma=0.1")
    run = run_training(*settings)
    state = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(1e-5)
