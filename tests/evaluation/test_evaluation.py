"""Truth of recordings with several species, and what is made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import Command

from dawnchorus.audio.write import write_recording
from dawnchorus.data.presence import Secondary
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.errors import InputError
from dawnchorus.evaluation.evaluation import METRICS, evaluate
from dawnchorus.evaluation.scoring import score_data_set
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
    assert [each["split"] for each in metadata["evaluations"]] == ["all", "test"], "one for each split, the latest last"
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


def test_annotated_and_empty_counts_as_none_and_unlabeled_does_not_count(
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
    assert scores.unlabeled == ("silence",)
    assert [row.recording_id for row in scores.rows] == ["marked", "empty", "what", "not it"]
    assert np.isnan(scores.by_recording("mean")[0][:, 0]).tolist() == [False, False, True, True]
    evaluation = evaluate(band_bundle, scores)
    assert {counts.n_recordings for counts in evaluation.events.values()} == {3}
    precisions = np.nan_to_num([species.precision for species in evaluation.species if species.n_recordings])
    macro = evaluation.by_recording["macro_precision"].value
    assert precisions.mean() == pytest.approx(macro), "of the same recordings, without those in which nothing is"
    with pytest.raises(InputError, match="but all 1 are unlabeled"):
        score_data_set(band_bundle, table, rows[3:4], store=store)
    done = command("evaluate", band_bundle.folder, tmp_path)
    assert b"in 3 annotated recordings" in done.stdout, done.stderr
    assert b"left out: 1 unlabeled recording (as silence)" in done.stderr


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(2, 6))
def test_metrics_of_rows_with_several_species_are_scikit_learns(seed: int, n: int, n_classes: int) -> None:
    from sklearn import metrics as sk

    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (n, n_classes)) / 5
    truth = rng.random((n, n_classes)) < 0.5
    truth[np.arange(n), rng.integers(0, n_classes, n)] = True
    ranked = METRICS["label_ranking_average_precision"](truth, scores)
    assert ranked == pytest.approx(sk.label_ranking_average_precision_score(truth, scores))
    inside = 0.01 + 0.98 * scores  # scikit-learn bounds probabilities of 0 and 1 elsewhere
    each = [sk.log_loss(truth[:, k], inside[:, k], labels=[False, True]) for k in range(n_classes)]
    assert METRICS["multilabel_log_loss"](truth, inside) == pytest.approx(np.mean(each))
    padding = np.ones((5, n_classes))
    padded = [np.r_[truth, padding.astype(bool)], np.r_[scores, padding]]
    assert METRICS["padded_cmap"](truth, scores) == pytest.approx(sk.average_precision_score(*padded, average="macro"))


def test_decisions_are_scikit_learns() -> None:
    from sklearn import metrics as sk

    rng = np.random.default_rng(3)
    truth = np.eye(5, dtype=bool)[rng.integers(0, 5, 80)]
    scores = rng.random((80, 5)) + truth
    named, predicted = truth.argmax(1), scores.argmax(1)
    for name in ("accuracy", "top_1"):
        assert METRICS[name](truth, scores) == pytest.approx(sk.accuracy_score(named, predicted))
    for average in ("macro", "micro", "weighted"):
        assert METRICS[f"{average}_f1"](truth, scores) == pytest.approx(sk.f1_score(named, predicted, average=average))
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score)):
            if average != "micro":
                expected = score(named, predicted, average=average)
                assert METRICS[f"{average}_{name}"](truth, scores) == pytest.approx(expected)
    shares = scores / scores.sum(1, keepdims=True)
    assert METRICS["log_loss"](truth, scores) == pytest.approx(sk.log_loss(named, shares))
    assert METRICS["top_5"](truth, scores) == 1.0
