"""Loss functions for soft and masked targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dawnchorus.training.config import LossConfig

CROSS_ENTROPY_SMOOTHING = 0.05

Loss = Callable[[Tensor, Tensor], Tensor]

IGNORED = -1.0
"""A target that counts neither for nor against."""


def build_loss(config: LossConfig, class_counts: Tensor) -> Loss:
    """Return a function of logits and targets, both [batch, classes], that computes the mean loss.

    Targets are from 0 to 1, or `IGNORED`. `class_counts` [classes] are the clips of each class, for `class_weights`.
    The loss "auto" must have been replaced: see `loss_for`.
    """
    counts = class_counts.clamp(min=1)
    weights = counts.sum() / (len(counts) * counts) if config.class_weights else torch.ones_like(counts)
    smooth = choose_label_smoothing(config)
    if config.name == "cross_entropy":
        return partial(_cross_entropy, weights=weights, smooth=smooth)
    gamma = config.focal_gamma if config.name == "focal" else None
    return partial(_binary, weights=weights, smooth=smooth, gamma=gamma)


def _cross_entropy(logits: Tensor, targets: Tensor, *, weights: Tensor, smooth: float) -> Tensor:
    counts_here = targets != IGNORED
    wanted = targets.clamp(min=0)
    wanted = wanted / wanted.sum(1, keepdim=True).clamp(min=1e-6)
    wanted = (1 - smooth) * wanted + smooth / targets.shape[1]
    logs = torch.log_softmax(logits.masked_fill(~counts_here, -1e4), dim=1)
    return -(wanted * logs * counts_here * weights.to(logits.device)).sum(1).mean()


def _binary(logits: Tensor, targets: Tensor, *, weights: Tensor, smooth: float, gamma: float | None) -> Tensor:
    """Return binary cross-entropy; with `gamma`, the focal loss (Lin et al., 2017)."""
    counts_here = targets != IGNORED
    wanted = (1 - smooth) * targets.clamp(min=0) + smooth / 2
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    if gamma is not None:
        p = torch.sigmoid(logits)
        each = each * (wanted * (1 - p) + (1 - wanted) * p) ** gamma
    each = each * counts_here * (1 + wanted * (weights.to(logits.device) - 1))
    return each.sum(1).mean()


def choose_label_smoothing(config: LossConfig) -> float:
    """Return the label smoothing: the share of a target that is spread over all classes."""
    if config.label_smoothing is None:
        return CROSS_ENTROPY_SMOOTHING if config.name == "cross_entropy" else 0.0
    return config.label_smoothing


def loss_for(config: LossConfig, targets: Tensor) -> LossConfig:
    """Choose the loss for targets [clips, classes]: "auto" becomes "bce" or "cross_entropy".

    Cross-entropy learns nothing from clips without any of the species, cannot give two species a high score in one
    window, and gives an only class the score 1 for any sound.
    """
    is_silent = (targets <= 0).all(1) & (targets == 0).any(1)
    has_several = (targets > 0.5).sum(1) > 1
    needs_own_scores = targets.shape[1] == 1 or bool((is_silent | has_several).any())
    if config.name == "auto":
        return config.model_copy(update={"name": "bce" if needs_own_scores else "cross_entropy"})
    if config.name == "cross_entropy" and targets.shape[1] == 1:
        return config.model_copy(update={"name": "bce"})
    return config
