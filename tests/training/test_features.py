"""Fixed features: computed once for all folds, made again when clips change, and never another data set's."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fixtures.commands import Command
from tests.fixtures.training import SMALL, Train

from dawnchorus.data.recordings import read_table, write_table
from dawnchorus.errors import InputError
from dawnchorus.evaluation.data_quality import find_training_overlap
from dawnchorus.models.bundle import read_bundle
from dawnchorus.models.graphs.ensemble import make_ensemble
from dawnchorus.models.store import ModelStore
from dawnchorus.training.families import Context, Network
from dawnchorus.training.features import birdless_features
from dawnchorus.training.runs import TrainingRun
from dawnchorus.training.trainer import resume

HEAD = ("model=embedding_head", "model.hidden=8", "trainer.epochs=1")


@pytest.fixture
def own(birds: Path, tmp_path: Path) -> Path:
    """The birds, in a folder that a test may change."""
    folder = tmp_path / "own"
    shutil.copytree(birds, folder, ignore=shutil.ignore_patterns("clips"))
    table = read_table(birds)
    write_table(read_table(folder).with_rows(replace(r, path=str(table.file(r).resolve())) for r in table.rows))
    return folder


def test_embeddings_are_kept_for_the_next_run_and_serve_every_fold(
    own: Path, run_training: Train, command: Command
) -> None:
    assert command("data", "split", own, "--folds", "3").returncode == 0
    runs = [run_training(*HEAD, f"data={own}", "data.validation_fold=0")]
    (kept,) = own.rglob("features-*.npy")
    made_at_ns = kept.stat().st_mtime_ns
    runs += [run_training(*HEAD, f"data={own}", f"data.validation_fold={k}") for k in (1, 2)]
    assert kept.stat().st_mtime_ns == made_at_ns, "embeddings are not computed again"
    assert kept.stat().st_mode & 0o077 == (own / "recordings.parquet").stat().st_mode & 0o077
    bundles = [read_bundle(run.bundle) for run in runs]
    made = make_ensemble(bundles, own.parent / "folds", name="folds", license_name="CC0-1.0")
    rows = [row for row in read_table(own).rows if row.split]
    each = [len(find_training_overlap(bundle, rows)) for bundle in bundles]
    assert all(0 < n < len(rows) for n in each)
    assert len(find_training_overlap(made, rows)) == len(rows), "some member has learned from each"
    assert made.info.training is None
    # Other recordings: the old file gives way to one that fits.
    table = read_table(own)
    fewer = [replace(row, split=None) if k == 0 else row for k, row in enumerate(table.rows)]
    write_table(table.with_rows(fewer[1:]))
    run_training(*HEAD, f"data={own}", "data.validation_fold=0")
    paths = list(own.rglob("features-*.npy"))
    assert all(len(np.load(path, mmap_mode="r")) > 0 for path in paths)


def test_features_of_a_stopped_run_are_not_trusted(own: Path, run_training: Train) -> None:
    run = run_training(*SMALL, "trainer.epochs=1", f"data={own}")
    assert not (run.folder / "features.npy").exists(), "they go with the run's end"
    stopped = TrainingRun(run.folder, run.metadata).update(status="running")
    np.save(run.folder / "features.npy", np.zeros((1, 95), np.float32))
    shutil.rmtree(run.bundle)
    again = resume(stopped.folder)
    assert again.metadata["status"] == "done"
    assert not (run.folder / "features.npy").exists()


def test_embeddings_of_noise_are_computed_once(tmp_path: Path, store: ModelStore) -> None:
    class Counting(Network):
        n_recordings = 0

        def features(self, waveform: torch.Tensor) -> torch.Tensor:
            self.n_recordings += len(waveform)
            return waveform[:, :2]

        def classify(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return features, features

    waveforms = torch.arange(80.0).reshape(20, 4)
    network = Counting(Context(("Avis a",), store))
    network.features_key = "ear"
    both = [birdless_features(network, waveforms, tmp_path) for _ in range(2)]
    assert all(torch.equal(each, waveforms[:, :2]) for each in both)
    assert network.n_recordings == 20
    birdless_features(network, waveforms[:5], tmp_path)
    assert network.n_recordings == 25, "other sounds have a file of their own"
    network.features_key = None
    assert torch.equal(birdless_features(network, waveforms, tmp_path), waveforms[:, :2])


def test_run_resumes_only_with_its_own_data(own: Path, run_training: Train) -> None:
    run = run_training(*SMALL, "trainer.epochs=1", f"data={own}")
    run.update(status="running")
    table = read_table(own)
    changed = [replace(row, scientific_name="Avis alia") if k == 0 else row for k, row in enumerate(table.rows)]
    write_table(table.with_rows(changed))
    with pytest.raises(InputError, match="other recordings, labels or splits"):
        resume(run.folder)


def test_a_split_of_clips_is_named_so(own: Path, run_training: Train) -> None:
    run = run_training(*SMALL, "trainer.epochs=1", f"data={own}", "data.random_clip_split=true")
    bundle = read_bundle(run.bundle)
    assert "Of recordings whose other clips were trained on" in (run.bundle / "MODEL_CARD.md").read_text()
    assert bundle.info.calibration is None
    rows = [row for row in read_table(own).rows if row.split == "train" and row.scientific_name]
    assert len(find_training_overlap(bundle, rows)) == len(rows)
