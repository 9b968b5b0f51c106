"""Files of every kind that were written before the renames of 2026-11-27 open and resume.

`earlier_files.zip` was written in /tmp/earlier by commit 6cad0f2e, the last one before the folders and names of today.
It has the tables of a run over three recordings, and the journal of one that was interrupted after two of them; a data
set that was imported, checked and split, and clips that were prepared from it; a training that was interrupted in its
second epoch, and the run of one that was not; and the database of a server with a recording, two reviews and an upload
of training data.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.data.clips import Clips
from dawnchorus.data.recipes import recipe_fields
from dawnchorus.data.recordings import read_table
from dawnchorus.formats.files import read_detections
from dawnchorus.identification import identify
from dawnchorus.models.bundle import Bundle, read_bundle, verify_bundle
from dawnchorus.models.runner import open_session
from dawnchorus.server.listing import DetectionQuery, find_detections
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import LabeledRecording, ModelActivation
from dawnchorus.training.compose import compose_config, recipe_overrides
from dawnchorus.training.renamed_keys import with_current_keys
from dawnchorus.training.runs import find_run, find_runs, read_config

FORMER_ROOT = "/tmp/earlier"
RUN = "20260501-043000-embedding_head"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The files in a folder that a test may change."""
    with zipfile.ZipFile(Path(__file__).with_name("earlier_files.zip")) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def write_sounds(folder: Path) -> None:
    """Write the three recordings that were identified, with their time of change."""
    folder.mkdir()
    for k in range(3):
        path = folder / f"SITE_2026050{k + 1}_040000.wav"
        soundfile.write(path, tone(seconds=1 + k, level=0.3 + k / 10), 16_000)
        os.utime(path, (1_780_000_000, 1_780_000_000))


def test_tables_of_detections_are_read(earlier: Path) -> None:
    from_csv, from_parquet = (read_detections(earlier / "finished" / f"detections.{end}") for end in ("csv", "parquet"))
    assert [len(table.detections) for table in from_csv] == [2, 4, 6]
    assert [[d.common_name for d in table.detections] for table in from_parquet] == [
        [d.common_name for d in table.detections] for table in from_csv
    ]
    assert str(next(iter(from_parquet)).metadata.start_time) == "2026-05-01 04:00:00"
    assert from_parquet.provenance.model == "level"


def test_an_interrupted_run_is_resumed(earlier: Path, level_bundle: Bundle) -> None:
    write_sounds(earlier / "sounds")
    with closing(sqlite3.connect(earlier / "stopped" / ".stopped.csv.journal", isolation_level=None)) as journal:
        for (path,) in journal.execute("SELECT path FROM recordings").fetchall():
            moved = path.replace(FORMER_ROOT.encode(), os.fsencode(earlier))
            journal.execute("UPDATE recordings SET path = ?, given = ? WHERE path = ?", (moved, moved, path))
    out = earlier / "stopped" / "stopped.csv"
    run = identify(earlier / "sounds", model=level_bundle.folder, out=out, tta_shifts=2, min_score=0.1)
    assert (run.counts.n_resumed, run.counts.n_done) == (2, 1)
    finished = (earlier / "finished" / "detections.csv").read_text()
    assert out.read_text().replace(str(earlier), FORMER_ROOT) == finished


def test_a_data_set_is_read(earlier: Path) -> None:
    rows = {row.recording_id: row for row in read_table(earlier / "set").rows}
    assert len(rows) == 10
    odd, first = rows["odd.wav"], rows["Avis gravis/0.wav"]
    assert (odd.problems, odd.label_check, odd.is_unlabeled) == (("no_license", "damaged", "short"), "unlabeled", True)
    assert (first.split, first.label_check, first.scientific_name) == ("validation", "checked", "Avis gravis")
    assert len(first.audio_hash or "") == 64
    assert {row.split for row in rows.values()} == {"train", "validation", "test"}


def test_prepared_clips_are_read(earlier: Path) -> None:
    clips = Clips(earlier / "clips")
    assert (len(clips), clips.rate_hz, clips.window_samples) == (10, 4000, 1000)
    assert recipe_fields(clips.recipe)["clip_selection"] == "loudest"
    numbers = {row["recording_id"]: k for k, row in enumerate(clips.index.to_pylist())}
    samples = clips.samples(numbers["Avis gravis/0.wav"])
    assert np.abs(np.fft.rfft(samples)).argmax() == 125, "500 Hz"


def test_a_bundle_and_its_recipe_are_read(earlier: Path) -> None:
    bundle = read_bundle(earlier / "whole" / RUN)
    verify_bundle(bundle)
    windows = np.stack([tone(500, seconds=1), tone(7000, seconds=1)])
    best = open_session(bundle).run(windows).logits.argmax(axis=1)
    assert [bundle.labels[k].scientific_name for k in best] == ["Avis gravis", "Avis murmurans"]
    assert bundle.info.training is not None
    assert bundle.info.training.recipe is not None
    recipe = compose_config(["data=x", *recipe_overrides(with_current_keys(bundle.info.training.recipe))])
    assert (recipe.trainer.batch_size, recipe.trainer.epochs, recipe.model["hidden"]) == (4, 3, 8)


def test_training_runs_are_read(earlier: Path) -> None:
    (stopped,), (whole,) = find_runs(earlier / "runs"), find_runs(earlier / "whole")
    assert (stopped.status, whole.status) == ("interrupted", "done")
    assert whole.metadata["n_trainable_parameters"] == 123
    assert find_run(whole.bundle) == whole
    assert read_config(stopped)["trainer"]["batch_size"] == 4


@pytest.mark.ops
def test_an_interrupted_training_is_resumed(earlier: Path, band_bundle: Bundle) -> None:
    """The metrics are those of the run of that time that nothing interrupted."""
    from dawnchorus.training.trainer import resume

    for species, frequency_hz in (("Avis gravis", 500), ("Avis murmurans", 7000)):
        (earlier / "birds" / species).mkdir(parents=True)
        for k in range(4):
            path = earlier / "birds" / species / f"{k}.wav"
            soundfile.write(path, tone(frequency_hz + 50 * k, seconds=2), 16_000)
    (earlier / "birds" / "noise").mkdir()
    soundfile.write(earlier / "birds" / "noise" / "n.wav", tone(3000, seconds=2, level=0.001), 16_000)
    (earlier / "birds" / "odd.wav").write_bytes((earlier / "birds" / "noise" / "n.wav").read_bytes()[:2000])
    recordings = pq.read_table(earlier / "set" / "recordings.parquet")
    paths = [path.replace(FORMER_ROOT, str(earlier)) for path in recordings["path"].to_pylist()]
    moved = recordings.set_column(recordings.schema.get_field_index("path"), recordings.schema.field("path"), [paths])
    pq.write_table(moved, earlier / "set" / "recordings.parquet")
    config = earlier / "runs" / RUN / "config.yaml"
    text = config.read_text().replace(f"{FORMER_ROOT}/bands/bundle", str(band_bundle.folder))
    config.write_text(text.replace(FORMER_ROOT, str(earlier)))
    whole = json.loads((earlier / "whole" / RUN / "run.json").read_text())
    run = resume(earlier / "runs" / RUN)
    assert run.status == "done"
    assert run.metrics == pytest.approx(whole["metrics"], abs=1e-4)


def test_the_database_of_a_server_opens(earlier: Path) -> None:
    database = Database(f"sqlite:///{earlier / 'server' / 'state.db'}")
    try:
        page = find_detections(database, DetectionQuery(), limit=10)
        reviewed = {row.detection.id: (row.detection.verdict, row.detection.common_name) for row in page.rows}
        assert reviewed == {1: ("correct", "Quiet Bird"), 2: ("relabeled", "Quiet Bird")}
        with database.read() as session:
            labeled = session.query(LabeledRecording).order_by(LabeledRecording.id).all()
            assert [(row.name, row.source) for row in labeled][-1] == ("Quiet Bird1.wav", "upload")
            assert session.query(ModelActivation).one().reason == "the server was started with it"
    finally:
        database.close()
