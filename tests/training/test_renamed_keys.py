"""Runs, bundles and clips that were written with the configuration keys of before 2026-12."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dawnchorus.data.recipes import Recipe, recipe_fields
from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle, TrainingSummary
from dawnchorus.training.compose import compose_config, recipe_overrides, validate_config
from dawnchorus.training.renamed_keys import with_current_keys
from dawnchorus.training.retraining import training_settings
from dawnchorus.training.runs import read_config, read_run
from dawnchorus.workflows import choose_secondary

OLD = json.loads("""{
  "model": {"family": "mel_cnn", "mel": {"n_hop": 400, "n_bands": 48, "level": "pcen", "normalise": "image"}},
  "data": {"path": "set", "take": "loudest", "fill": "zeros", "secondary": 0.5, "by_clip": true, "fold": 2},
  "optimizer": {"name": "adamw", "head_lr": 3.0},
  "augment": {"shift": 1.0, "band_shift": 3, "band_masks": 2, "band_mask_share": 0.1, "cutouts": 1},
  "trainer": {"steps": 300, "batch": 4, "draw": "recordings", "balance": 0.5, "clip_gradient": 1.0},
  "tracker": {"name": "none", "address": "http://localhost:5000"},
  "seed": 7
}""")

TODAY = [
    "model=mel_cnn", "model.mel.hop_length=400", "model.mel.n_mels=48", "model.mel.compression=pcen",
    "model.mel.normalize=imagenet", "data=set", "data.clip_selection=loudest", "data.pad_mode=zeros",
    "data.secondary_target=0.5", "data.random_clip_split=true", "data.validation_fold=2",
    "optimizer.head_lr_multiplier=3.0", "augment.time_roll=1.0", "augment.freq_shift=3", "augment.freq_masks=2",
    "augment.freq_mask_share=0.1", "augment.n_cutouts=1", "trainer.min_steps=300",
    "trainer.batch_size=4", "trainer.sampling=recordings", "trainer.class_balance=0.5",
    "trainer.gradient_clip_val=1.0", "tracker.uri=http://localhost:5000", "seed=7",
]  # fmt: skip


def test_run_with_old_keys_opens(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        '{"status": "done", "n_learned": 4251, "evaluations": [{"part": "test", "turns": 3, "metrics": {}}]}'
    )
    (tmp_path / "config.yaml").write_text(json.dumps(OLD))  # JSON is YAML
    run = read_run(tmp_path)
    assert run.metadata["n_trainable_parameters"] == 4251
    assert (run.evaluations[0]["tta_shifts"], run.evaluations[0]["split"]) == (3, "test")
    today = compose_config([*TODAY, "data.noise_share=0"])
    assert validate_config(read_config(run)).model_dump(exclude={"scheduler"}) == today.model_dump(
        exclude={"scheduler"}
    )


@pytest.mark.parametrize(("cautious", "is_default"), [(True, True), (False, False)])
def test_recipe_with_old_keys_trains_again(level_bundle: Bundle, *, cautious: bool, is_default: bool) -> None:
    recipe = {**OLD, "model": {"family": "embedding_head", "cautious": cautious}}
    training = TrainingSummary(data="", n_recordings=9, n_clips=9, licenses={}, recipe=recipe)
    active = replace(level_bundle, info=level_bundle.info.model_copy(update={"training": training}))
    settings = training_settings(active, (), backbone="birdnet")
    assert settings.is_default == is_default
    if not is_default:
        assert compose_config([*settings.overrides, "data=x"]).trainer.batch_size == 4
    assert choose_secondary(active) == "count"


def test_current_keys_are_left_alone() -> None:
    config = compose_config(TODAY).model_dump(mode="json")
    assert with_current_keys(config) == config
    assert recipe_overrides(with_current_keys(config)) == recipe_overrides(config)


def test_old_key_is_refused_with_its_new_name() -> None:
    with pytest.raises(
        InputError, match=r"trainer\.batch: there is no such key\. It was renamed to trainer\.batch_size"
    ):
        compose_config(["data=x", "trainer.batch=8"])


def test_prepared_clips_keep_their_key() -> None:
    stored = Recipe(clip_selection="first", pad_mode="repeat", normalize=True).as_json()
    assert (stored["take"], stored["fill"], stored["normalise"]) == ("first", "repeat", True)
    assert Recipe(**recipe_fields(stored)).as_json() == stored
