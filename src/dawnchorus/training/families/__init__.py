"""The families by name."""

from __future__ import annotations

from typing import Any

from dawnchorus.errors import InputError
from dawnchorus.suggestions import suggestion
from dawnchorus.training.families.acoustic_mlp import ACOUSTIC_MLP
from dawnchorus.training.families.base import Context, Family, FamilyConfig, Network
from dawnchorus.training.families.efficientnet import EFFICIENTNET
from dawnchorus.training.families.embedding_head import EMBEDDING_HEAD
from dawnchorus.training.families.mel_cnn import MEL_CNN
from dawnchorus.training.families.wav2vec2 import WAV2VEC2

__all__ = ["FAMILIES", "Context", "Family", "FamilyConfig", "Network", "get_family"]

FAMILIES: dict[str, Family[Any]] = {
    family.name: family for family in (ACOUSTIC_MLP, EMBEDDING_HEAD, WAV2VEC2, EFFICIENTNET, MEL_CNN)
}


def get_family(name: str) -> Family[Any]:
    """Return the family of this name.

    Raises:
        InputError: there is none.
    """
    if name not in FAMILIES:
        hint = suggestion(name, FAMILIES)
        raise InputError(f"model: expected one of {', '.join(FAMILIES)}, got {name!r}.{hint}")
    return FAMILIES[name]
