"""Data quality of an evaluation: recordings that were trained on, and wrong labels."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.training import Train

from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.data.relations import find_leaks
from dawnchorus.evaluation.data_quality import find_training_overlap, overlap_notes
from dawnchorus.models.bundle import Bundle, read_bundle


def with_training_rows(bundle: Bundle, folder: Path, *rows: RecordingRow) -> Bundle:
    """Return a copy of the bundle that was trained on these recordings."""
    shutil.copytree(bundle.folder, folder)
    write_table(RecordingsTable(folder, rows))
    return read_bundle(folder)


def recording(name: str, **more: object) -> RecordingRow:
    return RecordingRow(recording_id=name, path=f"{name}.wav", **more)  # type: ignore[arg-type]


def test_clips_of_training_recordings_are_detected(band_bundle: Bundle, tmp_path: Path) -> None:
    names = ("XC7#2", "SITE_20240501_060000_0", "creek_0.0s_3.0s", "XC9")
    own = [replace(recording(name), path="", split="train") for name in names]
    bundle = with_training_rows(band_bundle, tmp_path / "bundle", *own, replace(recording("XC11"), split="test"))
    given = ("xc-0007_4", "b/SITE_20240501_060000", "creek_3.0s_6.0s", "XC9", "XC10", "XC11")
    rows = list(map(recording, given))
    assert [(leak.recording_id, leak.trained_as, leak.relation) for leak in find_training_overlap(bundle, rows)] == [
        ("xc-0007_4", "XC7#2", "the same number of an archive"),
        ("b/SITE_20240501_060000", "SITE_20240501_060000_0", "the same recorder and start"),
        ("creek_3.0s_6.0s", "creek_0.0s_3.0s", "cut from the same recording"),
        ("XC9", "XC9", "the same identifier"),
    ]


def test_relations_that_could_not_be_looked_for_are_stated(band_bundle: Bundle, tmp_path: Path) -> None:
    (unknown,) = overlap_notes(band_bundle, [recording("XC7")])
    assert "has no table of the recordings that it was trained on" in unknown
    bundle = with_training_rows(band_bundle, tmp_path / "bundle", replace(recording("XC7"), path="", split="train"))
    (note,) = overlap_notes(bundle, [recording("XC8")])
    assert "archive numbers" not in note
    for missing in ("sounds (run `dawnchorus data check`", "recorders and start times", "recordists and days"):
        assert missing in note


@pytest.mark.ops
def test_a_planted_copy_and_a_planted_wrong_label_are_found(
    run_training: Train, birds: Path, tmp_path: Path, command: Command
) -> None:
    run = run_training(
        "model=embedding_head", "model.backbone=birdnet", "model.hidden=null", "trainer.epochs=30", "optimizer.lr=0.01"
    )
    planted = tmp_path / "planted"
    shutil.copytree(birds, planted, ignore=shutil.ignore_patterns("clips"))
    table = read_table(planted)
    rows = [replace(row, path=str(table.file(row).resolve())) for row in read_table(birds).rows]
    trained_on = next(row for row in rows if row.split == "train" and row.scientific_name)
    audio, rate_hz = soundfile.read(trained_on.path)
    soundfile.write(planted / "softer.flac", audio * 0.5, rate_hz)
    copy = replace(trained_on, recording_id="softer", path="softer.flac", split="test", audio_hash=None)
    species = sorted({row.scientific_name for row in rows if row.scientific_name})
    wrong = next(row for row in rows if row.split == "test" and row.scientific_name == species[0])
    rows = [replace(row, scientific_name=species[1]) if row is wrong else row for row in rows]
    write_table(table.with_rows([*rows, copy]))

    assert command("data", "check", planted).returncode == 0
    report = command("evaluate", run.folder, planted, "--out", tmp_path / "report")
    assert report.returncode == 0, report.stderr
    assert b"was trained on 1 of these recordings" in report.stderr
    assert b"possible label error" in report.stderr
    (evaluation,) = json.loads((tmp_path / "report" / "evaluation.json").read_text())["evaluations"]
    assert evaluation["training_overlap"] == [
        {"recording_id": "softer", "trained_as": trained_on.recording_id, "relation": "nearly the same sound"}
    ]
    (doubt,) = evaluation["label_issues"]
    assert (doubt["recording_id"], doubt["label"], doubt["prediction"]) == (wrong.recording_id, species[1], species[0])
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert "Possible label errors" in page
    assert "Overlap with training" in page
    leak, *_ = find_leaks(read_table(planted).rows, lambda row: row.split)
    assert "softer" in str(leak), "the split's own report names it as well"

    honest = command("evaluate", run.folder, birds, "--json")
    (clean,) = json.loads(honest.stdout)["evaluations"]
    assert clean["training_overlap"] == clean["label_issues"] == []
    assert clean["calibrated_error"] is not None
    assert command("evaluate", run.folder, birds, "--split", "train").stderr.count(b"the same sound") == 1


def test_names_that_two_data_sets_share_are_no_evidence_where_bytes_are_known(
    tmp_path: Path, level_bundle: Bundle
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(level_bundle.folder, folder)
    metadata = {"path": "", "scientific_name": "Avis magna"}
    trained_on = [
        RecordingRow(recording_id="Avis/1.wav", content_hash="a", split="train", **metadata),  # type: ignore[arg-type]
        RecordingRow(recording_id="XC1", content_hash="b", split="train", **metadata),  # type: ignore[arg-type]
    ]
    write_table(RecordingsTable(folder, tuple(trained_on)))
    rows = [
        replace(trained_on[0], content_hash="c"),
        replace(trained_on[0], recording_id="other.wav"),
        replace(trained_on[1], content_hash="d"),
        replace(trained_on[0], content_hash=None),
    ]
    overlap = find_training_overlap(replace(level_bundle, folder=folder), rows)
    assert [(leak.recording_id, leak.relation) for leak in overlap] == [
        ("other.wav", "the same file"), ("XC1", "the same identifier"), ("Avis/1.wav", "the same identifier"),
    ]  # fmt: skip
