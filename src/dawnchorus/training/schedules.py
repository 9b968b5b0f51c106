"""Construction of optimizers and learning-rate schedules."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from dawnchorus.training.config import OptimizerConfig, SchedulerConfig
from dawnchorus.training.families import Network

BY_EPOCH = ("plateau", "step", "warm_restarts")
"""Schedules that are updated after each epoch; others are updated after each optimizer step."""


def build_optimizer(config: OptimizerConfig, network: Network) -> torch.optim.Optimizer:
    """Build the optimizer of all trainable parameters, without weight decay for biases and normalization scales.

    The learning rate of weights that are not in `Network.pretrained` is multiplied by `config.head_lr_multiplier`.
    """
    trainable = [(name, weights) for name, weights in network.named_parameters() if weights.requires_grad]
    groups = []
    for is_pretrained in (True, False):
        rate = config.lr if is_pretrained else config.lr * config.head_lr_multiplier
        own = [w for name, w in trainable if name.startswith(network.pretrained) == is_pretrained]
        groups += [
            {"params": [w for w in own if w.ndim > 1], "weight_decay": config.weight_decay, "lr": rate},
            {"params": [w for w in own if w.ndim <= 1], "weight_decay": 0.0, "lr": rate},
        ]
    groups = [group for group in groups if group["params"]]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr)


def build_scheduler(
    config: SchedulerConfig, optimizer: torch.optim.Optimizer, *, n_steps: int, falls: bool = True
) -> LRScheduler | None:
    """Build the learning-rate schedule; None for a constant rate without warm-up.

    It is to be stepped after each epoch for the names in `BY_EPOCH`, and after each optimizer step for others.

    Args:
        config: the settings.
        optimizer: the optimizer.
        n_steps: total number of optimizer steps.
        falls: True if lower values of the monitored metric are better, False if higher values are; for the schedule
            "plateau".
    """
    n_warm = round(config.warmup * n_steps)
    if config.name == "plateau":
        return ReduceLROnPlateau(
            optimizer, mode="min" if falls else "max", factor=config.factor, patience=config.patience
        )
    if config.name == "step":
        return StepLR(optimizer, step_size=config.step_size, gamma=config.gamma)
    if config.name == "warm_restarts":
        return CosineAnnealingWarmRestarts(optimizer, T_0=config.restart_epochs, T_mult=config.restart_factor)
    if config.name == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, peaks, total_steps=n_steps + 1, pct_start=max(config.warmup, 2 / (n_steps + 1)))
    if config.name == "constant" and not n_warm:
        return None

    def share(step: int) -> float:
        if step < n_warm:
            return (step + 1) / (n_warm + 1)
        if config.name == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min((step - n_warm) / max(n_steps - n_warm, 1), 1)))

    return LambdaLR(optimizer, share)
