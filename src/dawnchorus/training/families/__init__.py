"""Model families: kinds of networks to train, by name; each has settings, a network class and an export."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dawnchorus.plug_ins import PlugIn
from dawnchorus.registry import Registry
from dawnchorus.training.families.acoustic_mlp import ACOUSTIC_MLP
from dawnchorus.training.families.base import Context, Family, FamilyConfig, Network
from dawnchorus.training.families.efficientnet import EFFICIENTNET
from dawnchorus.training.families.embedding_head import EMBEDDING_HEAD
from dawnchorus.training.families.mel_cnn import MEL_CNN
from dawnchorus.training.families.wav2vec2 import WAV2VEC2

__all__ = ["FAMILIES", "Context", "Family", "FamilyConfig", "Network"]


def guard_family(entry: Family[Any], plug_in: PlugIn) -> Family[Any]:
    """Return a plug-in's family whose functions raise `PlugInError` for any error; errors of its networks are kept."""
    return replace(
        entry,
        build=plug_in.guard()(entry.build),
        complete=plug_in.guard()(entry.complete),
        base_bundle=plug_in.guard()(entry.base_bundle),
        pretrained=plug_in.guard()(entry.pretrained),
    )


FAMILIES: Registry[Family[Any]] = Registry(
    Family,
    (ACOUSTIC_MLP, EMBEDDING_HEAD, WAV2VEC2, EFFICIENTNET, MEL_CNN),
    noun="model",
    group="dawnchorus.families",
    guard=guard_family,
)
