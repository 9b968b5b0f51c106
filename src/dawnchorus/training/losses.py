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
"""Target value that excludes a class of a clip from the loss."""


def build_loss(config: LossConfig, class_counts: Tensor) -> Loss:
    """Return a function of logits and targets, both [batch, classes], that computes the mean loss over the batch.

    Targets are from 0 to 1, or `IGNORED` (-1) to leave out a class of a clip.

    Args:
        config: the settings; the name "auto" must have been replaced by `loss_for`.
        class_counts: number of training clips of each class [classes], for `config.class_weights`.
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
    smoothed = targets.clamp(min=0)
    smoothed = smoothed / smoothed.sum(1, keepdim=True).clamp(min=1e-6)
    smoothed = (1 - smooth) * smoothed + smooth / targets.shape[1]
    logs = torch.log_softmax(logits.masked_fill(~counts_here, -1e4), dim=1)
    return -(smoothed * logs * counts_here * weights.to(logits.device)).sum(1).mean()


def _binary(logits: Tensor, targets: Tensor, *, weights: Tensor, smooth: float, gamma: float | None) -> Tensor:
    """Return the binary cross-entropy or, with `gamma`, the focal loss (Lin et al., 2017)."""
    counts_here = targets != IGNORED
    smoothed = (1 - smooth) * targets.clamp(min=0) + smooth / 2
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    if gamma is not None:
        p = torch.sigmoid(logits)
        each = each * (smoothed * (1 - p) + (1 - smoothed) * p) ** gamma
    each = each * counts_here * (1 + smoothed * (weights.to(logits.device) - 1))
    return each.sum(1).mean()


def choose_label_smoothing(config: LossConfig) -> float:
    """Return the label smoothing to use (`LossConfig.label_smoothing`), from 0 to 1.

    Without a configured value it is `CROSS_ENTROPY_SMOOTHING` (0.05) for "cross_entropy", and 0 for other losses.
    """
    if config.label_smoothing is None:
        return CROSS_ENTROPY_SMOOTHING if config.name == "cross_entropy" else 0.0
    return config.label_smoothing


def loss_for(config: LossConfig, targets: Tensor) -> LossConfig:
    """Return the configuration with the loss to use for the training clips' targets [clips, classes]: never "auto".

    "auto" becomes "bce" if some clips have no species or several (targets above 0.5), or if there is a single class;
    else "cross_entropy". For a single class, a configured "cross_entropy" becomes "bce" as well, because
    the score would be 1 for any sound.
    """
    is_silent = (targets <= 0).all(1) & (targets == 0).any(1)
    has_several = (targets > 0.5).sum(1) > 1
    needs_own_scores = targets.shape[1] == 1 or bool((is_silent | has_several).any())
    if config.name == "auto":
        return config.model_copy(update={"name": "bce" if needs_own_scores else "cross_entropy"})
    if config.name == "cross_entropy" and targets.shape[1] == 1:
        return config.model_copy(update={"name": "bce"})
    return config
