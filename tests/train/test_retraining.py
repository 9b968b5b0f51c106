"""What decides whether a retrained model serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.conftest import Command

from dawnchorus.models.bundle import Bundle
from dawnchorus.train.retraining import KNOWN, MAX_FEWER_RIGHT, MAX_LOSS, MAX_MORE_ALARMS, judged


def report(**changes: Any) -> dict[str, Any]:
    """Of two models that do equally well."""
    species = {"common_name": "Loud Bird", "active_average_precision": 0.9, "new_average_precision": 0.9}
    same: dict[str, Any] = {name: {"active": 0.8, "new": 0.8} for name in ("average_precision", "top_1")}
    return {**same, "false_alarms": {"active": 0.1, "new": 0.1}, "species": [species], **changes}


def test_a_model_that_does_as_well_is_promoted_and_a_little_worse_is_as_well(level_bundle: Bundle) -> None:
    assert judged(level_bundle, level_bundle, report()) == ()
    nearly = report(
        average_precision={"active": 0.8, "new": 0.8 - MAX_LOSS / 2},
        top_1={"active": 0.8, "new": 0.8 - MAX_FEWER_RIGHT / 2},
        false_alarms={"active": 0.1, "new": 0.1 + MAX_MORE_ALARMS / 2},
    )
    assert judged(level_bundle, level_bundle, nearly) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"average_precision": {"active": 0.8, "new": 0.78}}, "macro average precision"),
        ({"top_1": {"active": 0.8, "new": 0.7}}, "it names 70% of the recordings"),
        ({"top_1": {"active": 0.8, "new": None}}, "it names"),
        ({"false_alarms": {"active": 0.0, "new": 0.2}}, "where they are not, in 20%"),
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
    (found,) = judged(level_bundle, level_bundle, report(**changes))
    assert reason in found


def test_a_model_that_has_lost_a_class_is_not_promoted(level_bundle: Bundle) -> None:
    smaller = replace(level_bundle, labels=level_bundle.labels[1:])
    (found,) = judged(level_bundle, smaller, report())
    assert "Loud Bird" in found
    assert judged(smaller, level_bundle, report()) == (), "it may know more"


def test_a_species_that_was_not_known_before_cannot_be_lost(level_bundle: Bundle) -> None:
    unknown = {"common_name": "New Bird", "active_average_precision": KNOWN / 2, "new_average_precision": 0.0}
    assert judged(level_bundle, level_bundle, report(species=[unknown])) == ()


def test_a_misspelt_label_ends_the_command_before_anything_is_trained(
    level_bundle: Bundle, tmp_path: Path, command: Command
) -> None:
    for name in ("Avis mgna", "Nova avis", "quiet bird"):
        (tmp_path / "data" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / name / "a.wav", np.full(1600, 0.2, np.float32), 16_000)
    options = ["--data", tmp_path / "data", "--model", level_bundle.folder, "--new-class", "Nova avis"]
    run = command("retrain", *options)
    assert run.returncode == 2, run.stderr
    assert b"'Avis mgna': no such class. Did you mean Avis magna (Loud Bird)? Recordings: 1." in run.stderr
    assert b"Nova avis" not in run.stderr
    assert b"quiet bird" not in run.stderr
    assert not (tmp_path / "data" / "retrained").exists()
