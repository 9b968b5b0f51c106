"""Training on a GPU, where there is one."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast

import pytest
import torch
from tests.fixtures.training import TINY, Train, TrainingStoppedError, stop_after_an_epoch

from dawnchorus.data.recordings import read_table
from dawnchorus.identification import identify
from dawnchorus.training.runs import TrainingRun
from dawnchorus.training.trainer import resume

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")

GPU = ("trainer=gpu", "trainer.accelerator=gpu", "trainer.batch_size=8", "trainer.threads=null")
MEL = ("model=mel_cnn", "model.window_s=2", "model.channels=[8]", "model.mel.n_mels=32")


def epochs(run: TrainingRun) -> list[dict[str, str]]:
    with (run.folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("family", list(TINY))
def test_a_family_is_trained_and_its_bundle_runs_without_a_gpu(family: str, run_training: Train, birds: Path) -> None:
    run = run_training(*TINY[family], *GPU, "trainer.epochs=2")
    assert run.metadata["status"] == "done"
    assert run.metadata["devices"] == f"1 x {torch.cuda.get_device_name(0)}"
    assert all(float(epoch["peak_gpu_memory_mb"]) > 0 for epoch in epochs(run))
    table = read_table(birds)
    recording = next(table.file(row) for row in table.rows if row.scientific_name)
    assert not identify(recording, model=run.bundle).failures


def test_a_gpu_learns_the_same_as_a_processor(run_training: Train) -> None:
    settings = (*TINY["acoustic_mlp"], "model.dropout=[0]", "trainer.batch_size=8", "trainer.epochs=3")
    processor = run_training(*settings)
    gpu = run_training(*settings, "trainer.accelerator=gpu", "trainer.precision=32")
    for name in ("loss", "val_loss", "val_auc"):
        assert gpu.metrics[name] == pytest.approx(processor.metrics[name], rel=1e-2), name


@pytest.mark.parametrize("precision", ["32", "16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("loss", ["bce", "focal", "cross_entropy"])
def test_precisions_and_losses(run_training: Train, precision: str, loss: str) -> None:
    run = run_training(*MEL, *GPU, f"trainer.precision={precision}", f"loss={loss}", "trainer.epochs=1")
    assert run.metadata["status"] == "done"


@pytest.mark.parametrize("family", ["mel_cnn", "efficientnet", "wav2vec2", "acoustic_mlp"])
def test_everything_that_changes_clips_runs_where_the_clips_are(family: str, run_training: Train) -> None:
    changes = ("augment=strong", "augment.pitch_shift=2", "augment.time_stretch=0.1")
    run = run_training(*TINY[family], *GPU, *changes, "trainer.epochs=1")
    assert run.metadata["status"] == "done"


@pytest.mark.parametrize(
    "options",
    [("data.clip_selection=loudest", "data.n_clips=2"), ("trainer.sampling=recordings", "trainer.class_balance=1")],
)
def test_other_ways_to_draw_clips(run_training: Train, options: tuple[str, ...]) -> None:
    run = run_training(*MEL, *GPU, *options, "trainer.epochs=1")
    assert run.metadata["status"] == "done"


def test_an_interrupted_run_resumes_to_the_same_metrics(run_training: Train, tmp_path: Path) -> None:
    settings = (*MEL, *GPU, "augment=light", "trainer.epochs=2")
    whole = run_training(*settings)

    with pytest.raises(TrainingStoppedError):
        run_training(*settings, f"paths.runs={tmp_path / 'stopped'}", report=stop_after_an_epoch)
    (folder,) = (tmp_path / "stopped").iterdir()
    resumed = resume(folder)
    assert resumed.metadata["status"] == "done"
    assert cast(dict[str, float], resumed.metrics) == pytest.approx(whole.metrics, rel=2e-2, abs=2e-2)


def test_a_profile_names_what_the_gpu_did(run_training: Train) -> None:
    run = run_training(
        *MEL, *GPU, "profiler=torch", "profiler.wait=0", "profiler.warmup=0", "profiler.active=1", "trainer.epochs=1"
    )
    assert "CUDA" in (run.folder / "reports" / "profile.txt").read_text()
