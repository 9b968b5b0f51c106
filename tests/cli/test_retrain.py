"""The command `retrain`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from tests.fixtures.commands import Command

from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.models.bundle import Bundle


def test_misspelled_label_fails_before_training(level_bundle: Bundle, tmp_path: Path, command: Command) -> None:
    for k, name in enumerate(("Avis mgna", "Nova avis", "quiet bird")):
        (tmp_path / "data" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / name / "a.wav", np.full(1600, 0.1 + 0.1 * k, np.float32), 16_000)
    options = ["--dataset", tmp_path / "data", "--model", level_bundle.folder, "--new-class", "Nova avis"]
    run = command("retrain", *options)
    assert run.returncode == 2, run.stderr
    assert b"'Avis mgna': no such class. Did you mean Avis magna (Loud Bird)? Recordings: 1." in run.stderr
    refusal = run.stderr.partition(b"Error")[2]
    assert b"Nova avis" not in refusal
    assert b"quiet bird" not in refusal
    assert not (tmp_path / "data" / "retrained").exists()


def test_settings_for_retraining_are_checked_before_there_are_recordings(
    level_bundle: Bundle, command: Command
) -> None:
    refused = command("retrain", "--check", "--model", level_bundle.folder, "trainer.epoch=3")
    assert refused.returncode == 2
    assert b"trainer.epoch" in refused.stderr
    assert b"'epochs'" in refused.stderr
    assert command("retrain", "--model", level_bundle.folder).returncode == 2


def test_check_refuses_a_label_that_no_class_has(level_bundle: Bundle, command: Command, tmp_path: Path) -> None:
    for name in ("Avis magna", "Avis mgna"):
        write_table(
            RecordingsTable(
                tmp_path, (RecordingRow(recording_id="a", path="a.wav", scientific_name=name, kind="focal"),)
            )
        )
        done = command("retrain", "--check", "--model", level_bundle.folder, "--dataset", tmp_path)
        assert (done.returncode == 0) == (name == "Avis magna"), done.stderr
    assert b"Avis mgna" in done.stderr
    assert not (tmp_path / "retrained").exists()
