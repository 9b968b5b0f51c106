"""Layers behind a backbone."""

from __future__ import annotations

import pytest
import torch
from tests.fixtures.networks import build
from tests.fixtures.training import TINY

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore


def test_what_begins_at_random_is_never_frozen_and_is_said(store: ModelStore) -> None:
    wave = build(store, *TINY["wav2vec2"], "model.freeze_transformer=true")
    image_network = build(store, *TINY["efficientnet"], "model.freeze=3")
    for network, words in ((wave, "Wav2Vec2 begins at random"), (image_network, "the backbone begins at random")):
        frozen = [
            name for name, w in network.named_parameters() if not w.requires_grad and not name.startswith("front_end")
        ]
        assert frozen == []
        assert words in (network.start_note or "")


@pytest.mark.parametrize(("hidden", "sizes"), [("null", []), ("5", [5]), ("[6,4]", [6, 4])], ids=["none", "one", "two"])
def test_head_has_the_configured_layers(hidden: str, sizes: list[int], band_bundle: Bundle, store: ModelStore) -> None:
    network = build(store, "model=embedding_head", f"model.backbone={band_bundle.folder}", f"model.hidden={hidden}")
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    assert [layer.out_features for layer in layers] == [*sizes, 3]
