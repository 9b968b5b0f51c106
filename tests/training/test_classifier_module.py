"""Noise and silence in batches."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dawnchorus.models.store import ModelStore
from dawnchorus.training.augment import Augment
from dawnchorus.training.compose import compose_config
from dawnchorus.training.families import Context, Network
from dawnchorus.training.inputs import AudioInputs
from dawnchorus.training.losses import build_loss
from dawnchorus.training.operators import declare_vision_operators


class _Ear(Network):
    """A network that keeps what it hears."""

    def __init__(self, store: ModelStore) -> None:
        super().__init__(Context(("Avis a", "Avis b"), store))
        self.waveforms: list[torch.Tensor] = []
        self.head = torch.nn.Linear(1, 2)

    def features(self, waveform: torch.Tensor) -> torch.Tensor:
        self.waveforms.append(waveform)
        return waveform.mean(1, keepdim=True)

    def classify(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.head(features), features


def test_processes_draw_different_reproducible_noise(monkeypatch: pytest.MonkeyPatch, store: ModelStore) -> None:
    declare_vision_operators()
    from dawnchorus.training.classifier_module import ClassifierModule

    config = compose_config(["data=x", "augment.noise_p=1"])
    ear = _Ear(store)
    examples = SimpleNamespace(recordings=None, presence=None, validation=())
    learner = ClassifierModule(
        ear, config, loss=build_loss(config.loss, torch.ones(2)), augment=Augment(config.augment),
        examples=examples, inputs=AudioInputs(ear, examples),  # type: ignore[arg-type]
    )  # fmt: skip
    monkeypatch.setattr(learner, "log", lambda *_args, **_options: None)
    batch = (torch.randn(2, 400, generator=rng()), torch.eye(2), torch.arange(2))
    for rank, step in ((0, 0), (1, 0), (0, 1), (1, 0)):
        monkeypatch.setattr(ClassifierModule, "global_rank", rank)
        monkeypatch.setattr(ClassifierModule, "global_step", step)
        learner.training_step(batch, 0)
    first, other, later, again = ear.waveforms
    assert not torch.equal(first, other)
    assert not torch.equal(first, later)
    assert not torch.equal(other, later)
    assert torch.equal(other, again)


def test_silence_and_some_noise_are_in_every_batch_with_none_of_the_classes(
    monkeypatch: pytest.MonkeyPatch, store: ModelStore
) -> None:
    declare_vision_operators()
    from dawnchorus.training.classifier_module import ClassifierModule

    birdless = torch.arange(9.0)[:, None].expand(9, 400)
    examples = SimpleNamespace(recordings=None, presence=None, validation=())
    batch = (torch.full((4, 400), -1.0), torch.eye(2).repeat(2, 1), torch.arange(4))
    drawn: dict[tuple[float, int], list[float]] = {}
    losses: dict[float, float] = {}
    monkeypatch.setattr(ClassifierModule, "log", lambda *_args, **_options: None)
    monkeypatch.setattr(ClassifierModule, "trainer", SimpleNamespace(world_size=1))
    for share, step in ((0.5, 0), (0.5, 1), (0.5, 0), (0.25, 0)):
        config = compose_config(["data=x", "loss=bce", f"data.noise_share={share}"])
        ear = _Ear(store)
        torch.nn.init.constant_(ear.head.weight, 0.0)
        torch.nn.init.constant_(ear.head.bias, 0.0)
        learner = ClassifierModule(
            ear, config, loss=build_loss(config.loss, torch.ones(2)), augment=Augment(config.augment),
            examples=examples, inputs=AudioInputs(ear, examples),  # type: ignore[arg-type]
            birdless=birdless,
        )  # fmt: skip
        monkeypatch.setattr(ClassifierModule, "global_step", step)
        losses[share] = learner.training_step(batch, 0).item()
        values = ear.waveforms[0][4:, 0].tolist()
        assert drawn.setdefault((share, step), values) == values, "the same step draws the same"
    assert [values[0] for values in drawn.values()] == [0, 0, 0], "silence"
    assert [len(values) for values in drawn.values()] == [3, 3, 2]
    assert drawn[0.5, 0] != drawn[0.5, 1]
    each = 2 * np.log(2)
    assert losses == pytest.approx({0.5: each * (4 + 3) / 4, 0.25: each * (4 + 2) / 4}), "each counts as a clip"


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)
