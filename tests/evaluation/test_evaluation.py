"""Truth of recordings with several species, and what is made of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from tests.fixtures.commands import Command

from dawnchorus.audio.write import write_recording
from dawnchorus.data.presence import ABSENT, NOT_KNOWN, PRESENT, Presence, Secondary
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.errors import InputError
from dawnchorus.evaluation.evaluation import evaluate
from dawnchorus.evaluation.events import count_events
from dawnchorus.evaluation.scoring import Scores, score_data_set
from dawnchorus.models.bundle import Bundle, TrainingSummary
from dawnchorus.models.store import ModelStore
from dawnchorus.workflows import choose_secondary

DEEP, HUMMING = "Avis gravis", "Avis murmurans"


@pytest.fixture(scope="module")
def duet(tmp_path_factory: pytest.TempPathFactory) -> RecordingsTable:
    """Recordings of one species, of one and another beside it, and one that is annotated."""
    folder = tmp_path_factory.mktemp("duet")
    rng = np.random.default_rng(1)
    marks = (Annotation(start_s=0, end_s=1, scientific_name=DEEP),)
    rows = (
        RecordingRow(recording_id="alone", path="alone.wav", scientific_name=DEEP, split="test"),
        RecordingRow(
            recording_id="both", path="both.wav", scientific_name=DEEP, secondary=(HUMMING, "Avis alia"), split="test"
        ),
        RecordingRow(
            recording_id="marked", path="marked.wav", secondary=(HUMMING,), annotations=marks, kind="soundscape"
        ),
    )
    for row in rows:
        write_recording(folder / row.path, rng.normal(0, 0.1, 32_000).astype(np.float32), rate_hz=16_000)
    table = RecordingsTable(folder, rows)
    write_table(table)
    return table


@pytest.mark.parametrize("secondary", get_args(Secondary))
def test_secondary_species_count_or_are_masked(
    duet: RecordingsTable, band_bundle: Bundle, store: ModelStore, secondary: Secondary
) -> None:
    classes = (DEEP, HUMMING)
    scores = score_data_set(band_bundle, duet, duet.rows, store=store, classes=classes, secondary=secondary)
    values, truth = scores.by_recording("mean")
    assert truth[:, 0].all()
    assert truth[:, 1].tolist() == [False, secondary == "count", False]
    assert np.isnan(values[:, 1]).tolist() == [False, secondary == "mask", False]
    evaluation = evaluate(band_bundle, scores)
    assert evaluation.secondary == secondary
    assert 0 < evaluation.by_recording["multilabel_log_loss"].value < 20
    assert sum(n for _, _, n in evaluation.reliability) == (10 if secondary == "mask" else 12), "windows and species"


def test_species_that_are_only_secondary_are_looked_at_where_they_count(
    duet: RecordingsTable, band_bundle: Bundle, store: ModelStore
) -> None:
    for secondary, expected in (("count", (DEEP, HUMMING)), ("mask", (DEEP,))):
        assert score_data_set(band_bundle, duet, duet.rows, store=store, secondary=secondary).classes == expected


def test_the_command_states_how_secondary_species_count(
    duet: RecordingsTable, band_bundle: Bundle, command: Command
) -> None:
    done = command("evaluate", band_bundle.folder, duet.folder)
    assert b"Secondary species count as truth." in done.stdout, done.stderr
    masked = command("evaluate", band_bundle.folder, duet.folder, "--secondary", "mask", "--json")
    assert json.loads(masked.stdout)["secondary"] == "mask"


def test_a_run_keeps_what_was_measured_with_it(
    duet: RecordingsTable, band_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "bundle").symlink_to(band_bundle.folder.resolve())
    (run / "run.json").write_text(json.dumps({"status": "done", "metrics": {"val_auc": 0.5}}))
    for model, options in ((run, ()), (run / "bundle", ("--split", "all")), (run, ("--pool", "max"))):
        done = command("evaluate", model, duet.folder, *options)
        assert done.returncode == 0, done.stderr
    assert Path(command("models", "path", run).stdout.decode().strip()) == run / "bundle", "a run is its bundle"
    metadata = json.loads((run / "run.json").read_text())
    assert [each["part"] for each in metadata["evaluations"]] == ["all", "test"], "one for each part, the latest last"
    latest = metadata["evaluations"][-1]
    assert (latest["data_set"], latest["bundle_id"], latest["pool"]) == (
        str(duet.folder.resolve()),
        band_bundle.id,
        "max",
    )
    assert latest["metrics"]["accuracy"].keys() == {"value", "low", "high"}
    assert metadata["metrics"]["test_accuracy"] == latest["metrics"]["accuracy"]["value"]
    assert metadata["metrics"].keys() >= {"val_auc", "all_accuracy"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"secondary": None}, "mask"),
        ({"secondary": 0.5}, "count"),
        ({"secondary": 0.5, "mask_secondary": True}, "mask"),  # of 2026, before `secondary: null`
        ({"secondary": 0.0, "mask_secondary": False}, "mask"),
        (None, "count"),
    ],
)
def test_secondary_species_count_as_the_model_was_trained(
    band_bundle: Bundle, data: dict[str, Any] | None, expected: Secondary
) -> None:
    recipe = None if data is None else {"data": data}
    training = TrainingSummary(data="", n_recordings=1, n_clips=1, licenses={}, recipe=recipe)
    trained = replace(band_bundle, info=band_bundle.info.model_copy(update={"training": training}))
    assert choose_secondary(trained) == expected


def test_species_that_the_model_does_not_know_are_named_first_and_counted_as_wrong(
    tmp_path: Path, band_bundle: Bundle, command: Command
) -> None:
    names = (DEEP, "Avis ignota", "Avis ignota", "Avis nova", DEEP)
    rows = tuple(
        RecordingRow(recording_id=f"r{k}", path=f"r{k}.wav", scientific_name=name, split="test")
        for k, name in enumerate(names)
    )
    for row in rows:
        tone = np.sin(2 * np.pi * 700 * np.arange(16_000) / 16_000) * 0.3
        write_recording(tmp_path / row.path, tone.astype(np.float32), rate_hz=16_000)
    write_table(RecordingsTable(tmp_path, rows))
    done = command("evaluate", band_bundle.folder, tmp_path, "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    warning = (
        b"does not know 2 of the 3 species of these recordings: Avis ignota (2), Avis nova (1). In 3 of 5 recordings"
    )
    assert warning in done.stderr.splitlines()[0]
    evaluation = json.loads((tmp_path / "report" / "evaluation.json").read_text())["evaluations"][0]
    assert evaluation["by_recording"]["accuracy"]["value"] == 1.0
    assert evaluation["counted"]["accuracy"] == {"n_recordings": 2, "n_species": 1}
    assert evaluation["with_unknown"]["accuracy"]["value"] == pytest.approx(2 / 5)
    assert evaluation["with_unknown"]["macro_f1"]["value"] == pytest.approx(1 / 3)
    assert evaluation["counted"]["cmap"]["n_recordings"] == 5, "recordings of unknown species are negatives already"
    assert "5 recordings, 3 species" in next(
        line for line in done.stdout.decode().splitlines()[7:] if "counted as wrong" in line
    )
    lines = [line.split() for line in done.stdout.decode().splitlines() if "counted as wrong" in line]
    assert lines[0][-4:] == ["5", "recordings,", "3", "species"]
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert "Avis ignota (2)" in page
    assert "40.0 % of 5" in page
    (tmp_path / "r4.wav").write_bytes(b"no sound")
    done = command("evaluate", band_bundle.folder, tmp_path)
    assert done.returncode == 3, "some recordings failed, as in identify"
    assert b"Left out: 1 failed" in done.stdout
    assert b"failed: bands: r4: " in done.stderr


def test_annotated_and_empty_counts_as_none_and_unlabelled_does_not_count(
    tmp_path: Path, band_bundle: Bundle, store: ModelStore, command: Command
) -> None:
    marks = (Annotation(start_s=0, end_s=1, scientific_name=DEEP),)
    unknown = (Annotation(start_s=0, end_s=2, scientific_name=""),)
    metadata = {"kind": "soundscape", "split": "test"}
    rows = (
        RecordingRow(recording_id="marked", path="marked.wav", annotations=marks, **metadata),  # type: ignore[arg-type]
        RecordingRow(recording_id="empty", path="empty.wav", is_annotated=True, **metadata),  # type: ignore[arg-type]
        RecordingRow(recording_id="what", path="what.wav", annotations=unknown, **metadata),  # type: ignore[arg-type]
        RecordingRow(recording_id="silence", path="quiet.wav", **metadata),  # type: ignore[arg-type]
        RecordingRow(recording_id="not it", path="not.wav", kind="background", absent=(HUMMING,), split="test"),
    )
    rng = np.random.default_rng(1)
    for row in rows:
        write_recording(tmp_path / row.path, rng.normal(0, 0.1, 16_000).astype(np.float32), rate_hz=16_000)
    table = RecordingsTable(tmp_path, rows)
    write_table(table)
    assert read_table(tmp_path) == table
    scores = score_data_set(band_bundle, table, rows, store=store)
    assert scores.unlabelled == ("silence",)
    assert [row.recording_id for row in scores.rows] == ["marked", "empty", "what", "not it"]
    assert np.isnan(scores.by_recording("mean")[0][:, 0]).tolist() == [False, False, True, True]
    assert {counts.n_recordings for counts in evaluate(band_bundle, scores).events.values()} == {3}
    with pytest.raises(InputError, match="but all 1 are unlabelled"):
        score_data_set(band_bundle, table, rows[3:4], store=store)
    done = command("evaluate", band_bundle.folder, tmp_path)
    assert b"in 3 annotated recordings" in done.stdout, done.stderr
    assert b"left out: 1 unlabelled recording (as silence)" in done.stderr


def test_events_in_a_recording_that_is_annotated_as_empty_are_wrong() -> None:
    mark = Annotation(start_s=0, end_s=1, scientific_name=DEEP)
    names = ("marked", "empty", "unlabelled")
    rows = [RecordingRow(recording_id=name, path=name, kind="soundscape") for name in names]
    rows[:2] = replace(rows[0], annotations=(mark,)), replace(rows[1], is_annotated=True)
    scores = Scores(
        classes=(DEEP,),
        rows=tuple(rows),
        recording=np.arange(3),
        start_s=np.zeros(3),
        window_s=3.0,
        scores=np.full((3, 1), 0.8),
        presence=np.array([[PRESENT], [ABSENT], [NOT_KNOWN]]),
        failures={},
    )
    counts = count_events(scores)["0.5"]
    assert (counts.precision, counts.n_predicted, counts.recall, counts.n_recordings) == (0.5, 2, 1.0, 2)


def test_a_short_mark_on_a_boundary_is_found_and_an_unnamed_one_decides_nothing() -> None:
    short = Annotation(start_s=2.9, end_s=3.1, scientific_name=DEEP)
    unnamed = Annotation(start_s=9, end_s=10, scientific_name="")
    row = RecordingRow(recording_id="r", path="r.wav", kind="soundscape", annotations=(short, unnamed))
    starts = np.arange(0, 18, 3.0)
    scores = Scores(
        classes=(DEEP,),
        rows=(row,),
        recording=np.zeros(6, int),
        start_s=starts,
        window_s=3.0,
        scores=np.array([[0.8], [0.8], [0.0], [0.8], [0.0], [0.8]]),
        presence=np.stack([Presence((DEEP,)).between(row, start, start + 3) for start in starts]),
        failures={},
    )
    assert scores.presence[:, 0].tolist() == [PRESENT, PRESENT, ABSENT, NOT_KNOWN, ABSENT, ABSENT]
    counts = count_events(scores)["0.5"]
    assert (counts.n_predicted, counts.n_correct, counts.recall) == (2, 1, 1.0)


def test_bundles_that_know_other_species_and_background_alone_are_reported(
    tmp_path: Path, band_bundle: Bundle, level_bundle: Bundle, command: Command
) -> None:
    names = (DEEP, "Avis magna", None)
    rows = tuple(
        RecordingRow(
            recording_id=f"r{k}", path=f"r{k}.wav", scientific_name=name, kind="focal" if name else "background"
        )
        for k, name in enumerate(names)
    )
    rng = np.random.default_rng(1)
    for row in rows:
        write_recording(tmp_path / row.path, rng.normal(0, 0.1, 16_000).astype(np.float32), rate_hz=16_000)
    write_table(RecordingsTable(tmp_path, rows))
    done = command(
        "evaluate", band_bundle.folder, level_bundle.folder, tmp_path, "--split", "all", "--out", tmp_path / "report"
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert b"nothing, because every draw of 3 recordings gives the same." in done.stdout
    assert "nothing, because every draw of 3 recordings gives the same." in page
    write_table(RecordingsTable(tmp_path, rows[2:]))
    done = command("evaluate", level_bundle.folder, tmp_path, "--split", "all", "--json")
    (evaluation,) = json.loads(done.stdout)["evaluations"]
    assert evaluation["background"]["n_recordings"] == 1
    assert evaluation["background"]["n_species"] == 2, "all that the model knows"
    assert evaluation["by_recording"]["padded_cmap"]["value"] is None, "padding is no evidence"
    assert b"NaN" not in done.stdout
    kept = command("evaluate", level_bundle.folder, tmp_path, "--split", "all", "--out", tmp_path / "report")
    assert b"evaluation.json: it exists already. Choose another name, or use --overwrite." in kept.stderr
    doubled = command("evaluate", level_bundle.folder, level_bundle.folder, tmp_path, "--split", "all")
    assert b"are the same bundle" in doubled.stderr
    turned = command("evaluate", tmp_path, level_bundle.folder)
    assert b"expected a data set as the last argument" in turned.stderr
    carrying = tmp_path / "carrying"
    shutil.copytree(level_bundle.folder, carrying)
    shutil.copy(tmp_path / "recordings.parquet", carrying)
    misspelt = command("evaluate", carrying, tmp_path / "nowhere")
    assert b"as the last argument" not in misspelt.stderr
    refused = command(
        "evaluate", level_bundle.folder, tmp_path, "--thresholds", tmp_path / "t.csv", "--precision", "nan"
    )
    assert refused.returncode == 2
