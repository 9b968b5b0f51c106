"""One species and noise is enough to train on; without noise it is refused."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.training import TINY, Train

from dawnchorus.cli.log import sentence
from dawnchorus.data.recordings import RecordingsTable, read_table, write_table
from dawnchorus.errors import InputError
from dawnchorus.models.bundle import read_bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.training.compose import compose_config
from dawnchorus.training.dataset import load_labeled_clips

RAIL = "Rallus aquaticus"


@pytest.fixture(scope="module")
def rails(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A species, noise, and sounds that are mistaken for the species."""
    folder = tmp_path_factory.mktemp("rails")
    rng = np.random.default_rng(1)
    time_s = np.arange(48_000) / 16_000
    for label, hz in ((f"{RAIL}_Water Rail", 900), ("noise", None), (f"-{RAIL}_Water Rail", 4000)):
        for k in range(8):
            tone = 0.0 if hz is None else 0.3 * np.sin(2 * np.pi * (hz + 10 * k) * time_s)
            path = folder / "raw" / label / f"r{k}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone + rng.normal(0, 0.02, len(time_s)), 16_000)
    for arguments in (("data", "import", folder / "raw", folder / "set"), ("data", "split", folder / "set")):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
    return folder / "set"


@pytest.mark.parametrize(
    "family", [name if name == "mel_cnn" else pytest.param(name, marks=pytest.mark.ops) for name in TINY]
)
def test_every_family_separates_one_species_from_noise(
    family: str, rails: Path, run_training: Train, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dawnchorus")
    settings = (*TINY[family], f"data={rails}", "trainer.epochs=1", "trainer.batch_size=8")
    run = run_training(*settings, "loss=cross_entropy")
    notes = caplog.messages
    bundle = read_bundle(run.bundle)
    assert [label.scientific_name for label in bundle.labels] == [RAIL]
    assert bundle.info.activation == "sigmoid"
    assert run.metadata["background"]["n_recordings"] > 0
    assert any(note.startswith("one class: trained with loss.name=bce") for note in notes)
    assert any("background" in note and "highest score" in note for note in notes)
    assert "### Scores in background" in (run.bundle / "MODEL_CARD.md").read_text()


@pytest.mark.ops
def test_a_detector_of_one_species_is_silent_in_noise(
    rails: Path, run_training: Train, tmp_path: Path, command: Command
) -> None:
    run = run_training(
        "model=embedding_head",
        "model.hidden=32",
        f"data={rails}",
        "trainer.epochs=25",
        "trainer.batch_size=4",
        "optimizer.lr=0.03",
    )
    done = command("evaluate", run.folder, rails, "--json", "--out", tmp_path / "report")
    (evaluation,) = json.loads(done.stdout)["evaluations"]
    assert evaluation["by_recording"]["macro_roc_auc"]["value"] == 1.0
    assert evaluation["background"]["n_with_detections"] == 0, evaluation["background"]
    assert "Background" in (tmp_path / "report" / "evaluation.html").read_text()
    said = command("evaluate", run.folder, rails)
    assert b"One species: the best of one is always right" in said.stdout
    (rails.parent / "raw" / "silence").mkdir()
    soundfile.write(rails.parent / "raw" / "silence" / "r1.wav", np.zeros(48_000), 16_000)
    for label, is_detected in (
        ("noise", False),
        ("silence", False),
        (f"-{RAIL}_Water Rail", False),
        (f"{RAIL}_Water Rail", True),
    ):
        detected = command("identify", "--model", run.folder, "--json", rails.parent / "raw" / label / "r1.wav")
        assert detected.returncode == 0, detected.stderr
        assert bool(json.loads(detected.stdout)["detections"]) == is_detected, label


def test_one_species_without_background_is_refused_and_leaves_no_run(
    rails: Path, run_training: Train, tmp_path: Path
) -> None:
    table = read_table(rails)
    alone = table.with_rows(row for row in table.rows if row.scientific_name)
    write_table(RecordingsTable(tmp_path, alone.rows))
    with pytest.raises(InputError, match=f"besides the only species, {RAIL}, .*'noise', or '-{RAIL}'"):
        run_training("model=acoustic_mlp", f"data={tmp_path}")
    assert list(tmp_path.glob("runs/*")) == []


def test_one_class_of_several_is_separated_from_the_others(birds: Path, run_training: Train) -> None:
    name = next(row.scientific_name for row in read_table(birds).rows if row.scientific_name)
    run = run_training(*TINY["mel_cnn"], f"data.classes=[{name}]", "trainer.epochs=1")
    n_all = sum(row.split == "train" for row in read_table(birds).rows)
    trained_on = read_table(run.bundle).rows
    assert sum(row.split == "train" for row in trained_on) == n_all
    assert {row.scientific_name for row in trained_on} > {name}


def test_relatives_of_training_recordings_are_named_before_training(
    birds: Path, store: ModelStore, tmp_path: Path
) -> None:
    table = read_table(birds)
    rows = [replace(row, path=str(table.file(row).absolute())) for row in table.rows]
    first = {part: next(row for row in rows if row.split == part) for part in ("train", "validation")}
    related = [replace(row, given_group="creek") if row in first.values() else row for row in rows]
    for each, expected in ((rows, 0), (related, 1)):
        write_table(RecordingsTable(tmp_path, tuple(each)))
        config = compose_config([f"data={tmp_path}", "model=acoustic_mlp"])
        clips = load_labeled_clips(config.data, rate_hz=22_050, window_s=2.0, clips_folder=None, store=store)
        said = [warning for warning in clips.warnings if "belong together with some for training" in warning]
        assert len(said) == expected
        assert all(warning.startswith("1 of ") and "the same group" in warning for warning in said)


def test_background_is_trained_on_by_default_and_warned_of_without_effect(
    birds: Path, run_training: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dawnchorus")
    table = read_table(birds)
    names = sorted({row.scientific_name for row in table.rows if row.scientific_name})
    rows = [replace(row, path=str(table.file(row).absolute())) for row in table.rows]
    rows = [
        replace(row, kind="background", scientific_name=None) if row.scientific_name == names[0] else row
        for row in rows
    ]
    write_table(RecordingsTable(tmp_path, tuple(rows)))
    settings = (*TINY["mel_cnn"], f"data={tmp_path}", "trainer.epochs=1")
    run = run_training(*settings)
    assert any(note.startswith("loss=bce: some clips have none of the species") for note in caplog.messages)
    bundle = read_bundle(run.bundle)
    assert bundle.info.activation == "sigmoid"
    assert bundle.info.training is not None
    assert bundle.info.training.recipe is not None
    assert bundle.info.training.recipe["loss"]["name"] == "auto", "a retraining chooses anew, by its own data"
    assert "Each species is scored by itself" in (run.bundle / "MODEL_CARD.md").read_text()
    caplog.clear()
    run = run_training(*settings, "loss=cross_entropy")
    notes = list(map(sentence, caplog.records))
    assert any("loss=cross_entropy learns nothing from the" in note for note in notes)
    assert any(note.startswith("warning:") and "detects species in background" in note for note in notes)
    assert "It always predicts a species" in (run.bundle / "MODEL_CARD.md").read_text()
