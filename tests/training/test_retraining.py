"""The rule by which a retrained model is activated."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dawnchorus.audio.write import write_recording
from dawnchorus.data.check import check_table
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, write_table
from dawnchorus.data.split import split_table
from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle, TrainingSummary, read_bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.training.compose import compose_config
from dawnchorus.training.retraining import (
    MAX_ACCURACY_DECREASE,
    MAX_FALSE_ALARM_INCREASE,
    MAX_LOSS,
    MIN_HELD_OUT,
    MIN_KNOWN_PRECISION,
    PARTS,
    compare,
    find_regressions,
    split_checked,
    too_few_held_out,
    training_settings,
)


def recordings(name: str, *, n_train: int, n_test: int) -> list[RecordingRow]:
    splits = ["train"] * n_train + ["test"] * n_test
    return [
        RecordingRow(
            recording_id=f"{name} {k}",
            path=f"{name} {k}.wav",
            scientific_name=f"Avis {name}",
            common_name=f"{name} Bird",
            split=split,
        )
        for k, split in enumerate(splits)
    ]


HELD_OUT = (
    *recordings("Common", n_train=15, n_test=5),
    *recordings("Rare", n_train=13, n_test=4),
    *recordings("Untrained", n_train=0, n_test=1),
)


def test_classes_with_too_few_held_out_recordings_are_named() -> None:
    marked = Annotation(start_s=0, end_s=1, scientific_name="Avis Marked")
    soundscapes = [
        RecordingRow(recording_id=f"{k}", path=f"{k}", kind="soundscape", annotations=(marked, marked), split=split)
        for k, split in enumerate(["train"] * 30 + ["test"] * 3)
    ]
    cut = recordings("Cut", n_train=10, n_test=10)
    clips = [replace(row, path=f"XC{k // 10} {k}.mp3") for k, row in enumerate(cut)]
    parts = [replace(row, given_group=f"{row.split}") for row in recordings("Reviewed", n_train=15, n_test=5)]
    lone = recordings("Lone", n_train=1, n_test=0)
    assert too_few_held_out([*HELD_OUT, *soundscapes, *clips, *parts, *lone]) == [
        {"scientific_name": "Avis Cut", "common_name": "Cut Bird", "n_held_out": 1, "n_needed": 18},
        {"scientific_name": "Avis Lone", "common_name": "Lone Bird", "n_held_out": 0, "n_needed": 19},
        {"scientific_name": "Avis Marked", "common_name": "Avis Marked", "n_held_out": 3, "n_needed": 2},
        {"scientific_name": "Avis Rare", "common_name": "Rare Bird", "n_held_out": 4, "n_needed": 3},
        {"scientific_name": "Avis Reviewed", "common_name": "Reviewed Bird", "n_held_out": 1, "n_needed": 18},
    ]


def test_fewer_held_out_recordings_cannot_rule_out_that_half_are_guessed() -> None:
    assert 0.05 ** (1 / MIN_HELD_OUT) > 0.5 > 0.05 ** (1 / (MIN_HELD_OUT - 1))


def test_required_number_of_recordings_is_enough(tmp_path: Path) -> None:
    rows = [replace(row, split=None) for row in recordings("New", n_train=3, n_test=0)]
    n_needed = too_few_held_out([replace(row, split="train") for row in rows])[0]["n_needed"]
    rows += [replace(row, recording_id=f"more {k}", path=f"more {k}.wav") for k, row in enumerate(rows[:1] * n_needed)]
    split = split_table(RecordingsTable(tmp_path, tuple(rows)), PARTS, seed=1)
    assert too_few_held_out(split.rows) == []


def test_clips_that_were_sent_are_held_out_by_recording(tmp_path: Path) -> None:
    """As a server has them: under names of its own, with the names that they came with as locality."""
    rng = np.random.default_rng(1)
    rows = []
    for k in range(24):
        path = tmp_path / f"{k:064x}"
        soundfile.write(path, rng.normal(0, 0.1, 8000), 16_000, format="WAV")
        rows.append(
            RecordingRow(
                recording_id=f"{k}",
                path=str(path),
                scientific_name="Avis magna",
                given_group=f"{k:064x}",
                locality=f"XC{k // 4}_{k % 4}.wav",
            )
        )
    split = split_checked(check_table(RecordingsTable(tmp_path, tuple(rows)), n_workers=1))
    sides = {(row.locality.partition("_")[0], row.split) for row in split.rows if row.locality}
    assert len(sides) == 6
    assert {side for _, side in sides} == {"train", "test"}


def report(**changes: Any) -> dict[str, Any]:
    """Return the report on two models that do equally well."""
    species = {"common_name": "Loud Bird", "active_average_precision": 0.9, "new_average_precision": 0.9}
    same: dict[str, Any] = {name: {"active": 0.8, "new": 0.8} for name in ("average_precision", "top_1")}
    alarms = {"active": 0.1, "new": 0.1}
    return {**same, "false_alarms": alarms, "species": [species], "too_few_held_out": [], **changes}


def test_a_model_that_does_as_well_is_promoted_and_a_little_worse_is_as_well(level_bundle: Bundle) -> None:
    assert find_regressions(level_bundle, level_bundle, report()) == ()
    nearly = report(
        average_precision={"active": 0.8, "new": 0.8 - MAX_LOSS / 2},
        top_1={"active": 0.8, "new": 0.8 - MAX_ACCURACY_DECREASE / 2},
        false_alarms={"active": 0.1, "new": 0.1 + MAX_FALSE_ALARM_INCREASE / 2},
    )
    assert find_regressions(level_bundle, level_bundle, nearly) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"average_precision": {"active": 0.8, "new": 0.78}}, "macro average precision"),
        ({"top_1": {"active": 0.8, "new": 0.7}}, "it names 70% of the held-out recordings"),
        ({"top_1": {"active": 0.8, "new": None}}, "it names none"),
        ({"top_1": {"active": 0.0, "new": 0.0}}, "it names none of the held-out recordings right"),
        ({"too_few_held_out": too_few_held_out(HELD_OUT)}, "to compare: Rare Bird 4 of 5 (add 3 recordings);"),
        ({"false_alarms": {"active": 0.0, "new": 0.2}}, "it detects absent species in 20%"),
        (
            {"species": [{"common_name": "Loud Bird", "active_average_precision": 0.9, "new_average_precision": 0.4}]},
            "much worse",
        ),
        (
            {"species": [{"common_name": "Loud Bird", "active_average_precision": 0.9, "new_average_precision": None}]},
            "Loud Bird much worse",
        ),
    ],
)
def test_a_model_that_does_worse_is_kept_and_not_promoted(
    changes: dict[str, Any], reason: str, level_bundle: Bundle
) -> None:
    (regression,) = find_regressions(level_bundle, level_bundle, report(**changes))
    assert reason in regression


def test_a_model_that_has_lost_a_class_is_not_promoted(level_bundle: Bundle) -> None:
    smaller = replace(level_bundle, labels=level_bundle.labels[1:])
    (regression,) = find_regressions(level_bundle, smaller, report())
    assert "Loud Bird" in regression
    assert find_regressions(smaller, level_bundle, report()) == (), "it may know more"


def test_a_species_that_was_not_known_before_cannot_be_lost(level_bundle: Bundle) -> None:
    unknown = {
        "common_name": "New Bird",
        "active_average_precision": MIN_KNOWN_PRECISION / 2,
        "new_average_precision": 0.0,
    }
    assert find_regressions(level_bundle, level_bundle, report(species=[unknown])) == ()


def test_held_out_recordings_in_the_active_models_training_are_counted(
    level_bundle: Bundle, store: ModelStore, tmp_path: Path
) -> None:
    write_recording(tmp_path / "XC1.wav", np.full(16_000, 0.3, np.float32), rate_hz=16_000)
    row = RecordingRow(recording_id="XC1", path="XC1.wav", scientific_name="Avis magna", split="test", duration_s=1.0)
    shutil.copytree(level_bundle.folder, tmp_path / "active")
    write_table(RecordingsTable(tmp_path / "active", (replace(row, split="train"),)))
    table = RecordingsTable(tmp_path, (row,))
    for folder, expected in ((tmp_path / "active", 1), (level_bundle.folder, 0)):
        report = compare(read_bundle(folder), level_bundle, table, store=store, n_workers=1)
        assert report["n_training_overlap"] == expected
        assert report["n_false_alarm_recordings"] == {"active": 1, "new": 1}
        assert report["false_alarm_hours"]["new"] == pytest.approx(1 / 3600, abs=1e-4)


def test_a_model_of_ones_own_is_trained_again_by_its_own_recipe(level_bundle: Bundle) -> None:
    settings = ["data=a-set", "data.validation_fold=2", "model.hidden=[16]", "model.dropout=[0.1]"]
    config = compose_config(["experiment=acoustic-95", *settings])
    training = TrainingSummary(data="", n_recordings=9, n_clips=9, licenses={}, recipe=config.recipe())
    own = replace(
        level_bundle, info=level_bundle.info.model_copy(update={"family": "acoustic_mlp", "training": training})
    )
    again = training_settings(own, ["trainer.epochs=2"], backbone="birdnet")
    assert not again.is_default
    made = compose_config([*again.overrides, "data=lessons"])
    assert (made.model["family"], made.model["hidden"], made.trainer.epochs) == ("acoustic_mlp", [16], 2)
    assert made.data.cleaning == config.data.cleaning
    assert (made.data.path, made.data.validation_fold) == ("lessons", None), "other data have no such fold"

    others = training_settings(level_bundle, [], backbone="birdnet")
    assert others.is_default
    assert compose_config([*others.overrides, "data=lessons"]).model["init_from_backbone_mean"]
    recipe_info = training.model_copy(update={"recipe": compose_config([*others.overrides, "data=x"]).recipe()})
    again = training_settings(
        replace(own, info=own.info.model_copy(update={"training": recipe_info})), [], backbone="birdnet"
    )
    assert again.is_default, "what was taught before is taught again, on the same backbone"

    chosen = training_settings(own, ["experiment=efficientnet-pcen"], backbone="birdnet")
    assert chosen.is_chosen
    assert compose_config([*chosen.overrides, "data=lessons"]).model["family"] == "efficientnet"
    other = replace(level_bundle, info=level_bundle.info.model_copy(update={"family": "embedding_head"}))
    assert any("another family" in reason for reason in find_regressions(own, other, report()))
    assert not any(
        "another family" in reason for reason in find_regressions(own, other, report(), may_change_family=True)
    )


def test_both_reasons_to_leave_a_recording_out_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dawnchorus")
    rows = [
        RecordingRow(recording_id=f"r{k}", path=f"r{k}.wav", scientific_name="Avis magna", kind="focal")
        for k in range(6)
    ]
    rows[0] = replace(rows[0], problems=("silent", "duplicate"))
    split_checked(RecordingsTable(tmp_path, tuple(rows)))
    assert [message for message in caplog.messages if "r0" in message] == ["left out: r0 is silent and duplicate"]


@pytest.mark.parametrize("override", ["data=other-set", "+data.path=other-set", "paths.runs=elsewhere"])
def test_what_a_retraining_sets_itself_is_refused(level_bundle: Bundle, override: str) -> None:
    with pytest.raises(InputError, match=rf"^{re.escape(override)}: expected no (data\.path|paths\.runs), .*--dataset"):
        training_settings(level_bundle, ["trainer.epochs=2", override], backbone="birdnet")
