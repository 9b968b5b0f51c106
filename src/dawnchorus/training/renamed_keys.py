"""Configuration keys that were renamed in December 2026; stored runs and recipes may have the old names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED_KEYS: dict[str, dict[str, str]] = {
    "data": {
        "take": "clip_selection",
        "fill": "pad_mode",
        "secondary": "secondary_target",
        "by_clip": "random_clip_split",
        "fold": "validation_fold",
    },
    "optimizer": {"head_lr": "head_lr_multiplier"},
    "augment": {
        "shift": "time_roll",
        "band_shift": "freq_shift",
        "band_masks": "freq_masks",
        "band_mask_share": "freq_mask_share",
        "cutouts": "n_cutouts",
    },
    "trainer": {
        "steps": "min_steps",
        "batch": "batch_size",
        "draw": "sampling",
        "balance": "class_balance",
        "clip_gradient": "gradient_clip_val",
    },
    "tracker": {"address": "uri"},
    "model": {"cautious": "init_from_backbone_mean", "own_classes": "init_from_backbone"},
    "model.mel": {"n_hop": "hop_length", "n_bands": "n_mels", "level": "compression", "normalise": "normalize"},
}
"""New keys by old key, by configuration group."""


def rename_keys(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields with keys renamed by `names` (new names by old name), in the same order."""
    return {names.get(key, key): value for key, value in fields.items()}


def with_current_keys(config: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Return a stored configuration or recipe (nested dicts) with current keys.

    `group` is the path of `config` in a whole configuration, such as "model.mel"; "" for a whole one.
    """
    renamed = rename_keys(config, RENAMED_KEYS.get(group, {}))
    if group == "model.mel" and renamed.get("normalize") == "image":
        renamed["normalize"] = "imagenet"
    for name, value in renamed.items():
        if isinstance(value, Mapping):
            renamed[name] = with_current_keys(value, f"{group}.{name}".lstrip("."))
    return renamed


def current_key(key: str) -> str | None:
    """Return the current key for an old one such as `trainer.batch` (`trainer.batch_size`); None if not renamed."""
    group, _, name = key.rpartition(".")
    renamed = RENAMED_KEYS.get(group, {}).get(name)
    return None if renamed is None else f"{group}.{renamed}"
