"""Losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dawnchorus.training.config import LossConfig
from dawnchorus.training.losses import IGNORED, build_loss


def test_losses_ignore_what_does_not_count_and_weigh_what_is_rare() -> None:
    logits = torch.tensor([[2.0, 0.0, 5.0]])
    target = torch.tensor([[1.0, 0.0, IGNORED]])
    for name in ("cross_entropy", "bce", "focal"):
        loss = build_loss(LossConfig(name=name, label_smoothing=0), torch.ones(3))
        changed = loss(logits + torch.tensor([[0.0, 0.0, 9.0]]), target)
        assert loss(logits, target).item() == pytest.approx(changed.item(), abs=1e-5), name
    plain = build_loss(LossConfig(name="cross_entropy", label_smoothing=0), torch.ones(2))(
        torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    )
    assert plain.item() == pytest.approx(-np.log(np.e / (np.e + 1)), abs=1e-6)
    weighted = build_loss(
        LossConfig(name="cross_entropy", label_smoothing=0, class_weights=True), torch.tensor([1.0, 3.0])
    )
    rare, common = (weighted(torch.zeros(1, 2), torch.eye(2)[[k]]).item() for k in (0, 1))
    assert rare == pytest.approx(3 * common)
    focal = build_loss(LossConfig(name="focal", focal_gamma=2), torch.ones(1))
    easy = focal(torch.tensor([[3.0]]), torch.ones(1, 1)).item()
    p = 1 / (1 + np.exp(-3))
    assert easy == pytest.approx(-np.log(p) * (1 - p) ** 2, rel=1e-4)
