"""Problems of recordings and doubtful labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from tests.fixtures.commands import Command

from dawnchorus.data.check import ModelScores, check_table
from dawnchorus.data.recordings import (
    RecordingsTable,
    read_table,
    write_table,
)
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection


def test_every_problem_is_found_where_it_is(checked: RecordingsTable) -> None:
    rows = {row.recording_id: row for row in checked.rows}
    problems = {name: row.problems for name, row in rows.items() if row.problems}
    assert problems == {
        "copy.flac": ("duplicate",),
        "near.mp3": ("near_duplicate",),
        "silent.wav": ("silent",),
        "constant.wav": ("silent",),
        "clipped.wav": ("clipped",),
        "short.wav": ("short",),
        "gone.wav": ("missing",),
        "broken.wav": ("unreadable",),
        "nameless.wav": ("unlabeled",),
        "cut.wav": ("damaged", "near_duplicate"),
    }
    assert rows["copy.flac"].duplicate_of == "3-1.wav"
    assert rows["near.mp3"].duplicate_of == "4-2.wav"
    assert rows["cut.wav"].duplicate_of == "7-1.wav"
    assert rows["copy.flac"].audio_hash == rows["3-1.wav"].audio_hash
    assert rows["cut.wav"].duration_s == pytest.approx(8 / 3, abs=0.01)


def test_checking_again_changes_nothing(checked: RecordingsTable) -> None:
    assert check_table(checked, n_workers=1) == checked


def test_labels_that_a_model_does_not_detect_are_doubtful(recordings: RecordingsTable) -> None:
    best = {"3-1.wav": {"B b": 0.9}, "3-2.wav": {"A 3": 0.2, "B b": 0.9}, "4-1.wav": {"B b": 0.3}, "4-2.wav": {}}
    scored = recordings.with_rows(row for row in recordings.rows if row.recording_id in best)
    checked = check_table(scored, n_workers=2, scores=model_scores(["A 3", "A 4", "B b"], best))
    assert [row.recording_id for row in checked.rows if "doubtful_label" in row.problems] == ["3-1.wav"]
    assert detected(checked, "3-1.wav") == ("checked", "B b", 0.9, 3.0, 6.0)
    assert detected(checked, "3-2.wav") == ("checked", None, None, None, None)


def model_scores(names: list[str], best: dict[str, dict[str, float]], kind: str = "species") -> ModelScores:
    """Return the result of a model with classes of these names, each score in the clip from 3 to 6 s."""
    detections = {
        recording: {name: Detection(3.0, 6.0, name, name, kind, score) for name, score in scores.items()}
        for recording, scores in best.items()
    }
    return ModelScores(KnownClasses(Label(name, name) for name in names), detections)


def detected(table: RecordingsTable, recording: str) -> tuple[object, ...]:
    (row_of_recording,) = (row for row in table.rows if row.recording_id == recording)
    return (
        row_of_recording.label_check,
        row_of_recording.detected_species,
        row_of_recording.detected_score,
        row_of_recording.detected_start_s,
        row_of_recording.detected_end_s,
    )


def test_other_species_under_a_label_that_the_model_does_not_know_is_reported(recordings: RecordingsTable) -> None:
    names = {"3-1.wav", "3-2.wav", "7-1.wav", "gone.wav", "nameless.wav"}
    recordings = recordings.with_rows(
        replace(row, scientific_name="B  B") if row.recording_id == "7-1.wav" else row
        for row in recordings.rows
        if row.recording_id in names
    )
    best: dict[str, dict[str, float]] = {"nameless.wav": {}}
    best |= {"3-1.wav": {"B b": 0.7}, "3-2.wav": {"B b": 0.85, "C c": 0.9}, "7-1.wav": {"B b": 0.9}}
    checked = check_table(recordings, n_workers=2, scores=model_scores(["B b", "C c"], best))
    assert {row.recording_id for row in checked.rows if "other_species" in row.problems} == {"3-2.wav"}
    assert detected(checked, "3-2.wav") == ("unknown_label", "C c", 0.9, 3.0, 6.0)
    assert detected(checked, "3-1.wav")[:2] == ("unknown_label", None), "it may be a relative of what it sounds like"
    assert detected(checked, "7-1.wav")[:2] == ("checked", None), "a name in another spelling is known"
    assert detected(checked, "gone.wav")[:2] == ("failed", None)
    assert detected(checked, "nameless.wav")[:2] == ("unlabeled", None)
    secondary = checked.with_rows(replace(row, secondary=("C c",)) for row in checked.rows)
    again = check_table(secondary, n_workers=2, scores=model_scores(["B b", "C c"], best))
    assert detected(again, "3-2.wav")[1] == "B b", "a species that is known to be in the background is not reported"
    noise = check_table(recordings, n_workers=2, scores=model_scores(["B b", "C c"], best, kind="sound"))
    assert detected(noise, "3-2.wav")[1] is None
    assert detected(check_table(checked, n_workers=2), "3-2.wav") == (None,) * 5, "of the last check only"


def test_detected_species_are_stored_and_older_tables_are_read(recordings: RecordingsTable, tmp_path: Path) -> None:
    row = replace(recordings.rows[0], label_check="unknown_label", detected_species="C c", detected_score=0.9)
    row = replace(row, audio_hash="of decoded samples")
    path = write_table(RecordingsTable(tmp_path, (replace(row, detected_start_s=3.0, detected_end_s=6.0),)))
    assert detected(read_table(tmp_path), row.recording_id) == ("unknown_label", "C c", 0.9, 3.0, 6.0)
    older = pq.read_table(path)
    names = [name.replace("detected_", "heard_").replace("audio_", "sound_") for name in older.column_names]
    pq.write_table(older.rename_columns(names).replace_schema_metadata(older.schema.metadata), path)
    assert read_table(tmp_path).rows[0].audio_hash == "of decoded samples"
    assert detected(read_table(tmp_path), row.recording_id) == ("unknown_label", "C c", 0.9, 3.0, 6.0)
    new = [name for name in older.column_names if name.startswith(("label_check", "detected_"))]
    assert len(new) == 5
    pq.write_table(older.drop_columns(new), path)
    assert detected(read_table(tmp_path), row.recording_id) == (None,) * 5


def test_older_spellings_in_tables_are_read(recordings: RecordingsTable, tmp_path: Path) -> None:
    row = replace(recordings.rows[0], label_check="unlabelled", problems=("unlabelled", "silent"))
    write_table(RecordingsTable(tmp_path, (row,)))
    (read,) = read_table(tmp_path).rows
    assert (read.label_check, read.problems) == ("unlabeled", ("unlabeled", "silent"))


def test_the_command_says_of_each_label_whether_it_was_checked(
    level_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    levels = {"Avis magna_Loud Bird": 0.8, "Quiet Bird": 0.96, "Avis mgna": 0.9, "Nova avis": 0.6, "noise": 0.5}
    for name, level in levels.items():
        (tmp_path / "birds" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "birds" / name / "x.wav", np.full(16_000, level, np.float32), 16_000)
    (tmp_path / "birds" / "Nova avis" / "broken.wav").write_bytes(b"no sound")
    assert command("data", "import", "birds", "set", cwd=tmp_path).returncode == 0
    done = command("data", "check", "set", "--check-labels", "--model", level_bundle.folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert (
        "labels of 6 recordings: 2 checked, 2 with a label that the model does not know, 1 not labeled, "
        "1 that could not be scored\n"
    ) in said
    assert "    'Avis mgna': no such class. Did you mean Avis magna (Loud Bird)? (1 recording)\n" in said
    assert "    'Nova avis': no such class. (1 recording)\n" in said
    assert "Avis mgna/x.wav: labeled Avis mgna, detected Avis magna (0.90 at 0.0-1.0 s)\n" in said
    assert "Quiet Bird/x.wav: labeled Quiet Bird, detected Avis magna (0.96 at 0.0-1.0 s)\n" in said
    assert "Nova avis/x.wav: labeled" not in said
    rows = {row.recording_id: row.label_check for row in read_table(tmp_path / "set").rows}
    assert rows["Nova avis/broken.wav"] == "failed"
    again = command("data", "check", "set", cwd=tmp_path)
    assert b"labels of 6 recordings" not in again.stdout


def test_a_data_set_without_labels_has_nothing_to_compare(
    level_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "birds" / "noise").mkdir(parents=True)
    soundfile.write(tmp_path / "birds" / "noise" / "x.wav", np.full(16_000, 0.5, np.float32), 16_000)
    assert command("data", "import", "birds", "set", cwd=tmp_path).returncode == 0
    done = command("data", "check", "set", "--check-labels", "--model", level_bundle.folder, cwd=tmp_path)
    assert (done.returncode, b"labels of 1 recording: 1 not labeled" in done.stdout) == (0, True), done.stderr
