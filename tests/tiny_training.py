"""A small data set of synthetic birds, imported, checked and split; and how tests train on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dawnchorus.models.bundle import Bundle
from dawnchorus.training.runs import TrainingRun

if TYPE_CHECKING:
    from tests.conftest import Command

Train = Callable[..., TrainingRun]

STARTED = datetime(2026, 5, 1, 4, 30)

TINY: dict[str, tuple[str, ...]] = {
    "acoustic_mlp": ("model=acoustic_mlp", "model.window_s=2", "model.hidden=[32]", "model.dropout=[0.1]"),
    "embedding_head": ("model=embedding_head", "model.hidden=32"),
    "wav2vec2": (
        "model=wav2vec2",
        "model.window_s=2",
        "model.layers=1",
        "model.units=32",
        "model.heads=2",
        "model.channels=16",
    ),
    "efficientnet": (
        "model=efficientnet",
        "model.backbone=test_efficientnet",
        "model.weights=null",
        "model.window_s=2",
        "model.mel.n_mels=64",
    ),
    "mel_cnn": ("model=mel_cnn", "model.window_s=2", "model.channels=[8,16]", "model.mel.n_mels=48"),
}


@pytest.fixture(scope="session")
def birds(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A data set of three synthetic species."""
    folder = tmp_path_factory.mktemp("birds")
    for arguments in (
        ("synth", folder / "raw", "--species", "3", "--clips", "8", "--soundscapes", "0", "--seed", "2"),
        ("data", "import", folder / "raw" / "clips", folder / "set"),
        ("data", "check", folder / "set"),
        ("data", "split", folder / "set"),
    ):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
    return folder / "set"


@pytest.fixture(scope="session")
def tiny(band_bundle: Bundle) -> dict[str, tuple[str, ...]]:
    """Every family, small enough for seconds; heads are trained on the embeddings of `band_bundle`."""
    head = (*TINY["embedding_head"], f"model.backbone={band_bundle.folder}")
    return {**TINY, "embedding_head": head}


@pytest.fixture
def run_training(birds: Path, band_bundle: Bundle, tmp_path: Path) -> Train:
    """`train` on the birds with some overrides."""

    def run(*overrides: str, **more: object) -> TrainingRun:
        from dawnchorus.training.compose import compose_config
        from dawnchorus.training.trainer import train

        settings = [f"data={birds}", f"paths.runs={tmp_path / 'runs'}", "trainer.accelerator=cpu", "trainer.threads=1"]
        if "model=embedding_head" in overrides:
            settings.append(f"model.backbone={band_bundle.folder}")
        settings += overrides
        return train(compose_config(settings), started=STARTED, overrides=settings, **more)  # type: ignore[arg-type]

    return run
