"""The trainer: continued runs, several processes, bad input, what is drawn, what is kept."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fixtures.commands import Command
from tests.fixtures.training import MLP, SMALL, Train, TrainingStoppedError, stop_after_an_epoch

from dawnchorus.cli.log import sentence
from dawnchorus.data.recordings import RecordingsTable, read_table, write_table
from dawnchorus.errors import BusyError, InputError, ModelNotFoundError, TrainingError
from dawnchorus.models.bundle import read_bundle
from dawnchorus.models.graphs.ensemble import make_ensemble
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.models.store import ModelStore
from dawnchorus.training.compose import compose_config
from dawnchorus.training.dataset import load_labeled_clips
from dawnchorus.training.runs import find_runs, read_run
from dawnchorus.training.trainer import resume
from dawnchorus.types import Progress


def test_the_same_seed_gives_the_same_run_and_another_seed_another(run_training: Train) -> None:
    first, same, other = (run_training(*SMALL, "trainer.epochs=2", f"seed={seed}") for seed in (1, 1, 2))
    assert first.metrics == same.metrics
    assert first.metadata["bundle_id"] == same.metadata["bundle_id"]
    assert first.metrics["loss"] != other.metrics["loss"]
    assert first.folder != same.folder


def test_interrupted_run_resumes_to_the_same_metrics(run_training: Train, tmp_path: Path) -> None:
    settings = (*SMALL, "augment=light", "trainer.epochs=2")
    whole = run_training(*settings)

    with pytest.raises(TrainingStoppedError):
        run_training(*settings, f"paths.runs={tmp_path / 'stopped'}", report=stop_after_an_epoch)
    (folder,) = (tmp_path / "stopped").iterdir()
    resumed = resume(folder)
    assert resumed.metadata["status"] == "done"
    assert resumed.metrics == pytest.approx(whole.metrics, abs=1e-5)
    with pytest.raises(InputError, match="this run is done"):
        resume(folder)


@pytest.mark.ops
def test_killed_run_resumes_to_the_same_result(birds: Path, tmp_path: Path, program: Command) -> None:
    settings = [*SMALL, "augment=light", "trainer.epochs=8", "trainer.accelerator=cpu", f"data={birds}"]
    done = program("train", *settings, f"paths.runs={tmp_path / 'whole'}")
    whole = read_run(Path(done.stdout.decode().strip()).parent)
    runs = tmp_path / "killed"
    arguments = [sys.executable, "-m", "dawnchorus", "train", *settings, f"paths.runs={runs}"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   3"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    (folder,) = runs.iterdir()
    assert read_run(folder).metadata["status"] == "running"
    assert program("train", "--resume", folder).returncode == 0
    resumed = read_run(folder)
    assert resumed.metadata["status"] == "done"
    for name, value in whole.metrics.items():
        assert resumed.metrics[name] == pytest.approx(value, abs=1e-5), name
    with pytest.raises(InputError, match="this run is done"):
        resume(folder)


@pytest.mark.ops
def test_two_processes_train_the_same_weights_as_one(run_training: Train, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dawnchorus")
    settings = (*MLP[:-2], "model.dropout=[0]", "trainer.epochs=3")
    one = run_training(*settings, "trainer.batch_size=8")
    two = run_training(*settings, "trainer.batch_size=9", "trainer.devices=2")
    for name in ("loss", "accuracy", "val_loss", "val_auc"):
        assert two.metrics[name] == pytest.approx(one.metrics[name], rel=1e-4)
    assert two.metadata["devices"].startswith("2 x CPU")
    assert "2 processes share each batch of 8: 4 clips in each" in caplog.messages, "the shares are of one size"
    with pytest.raises(InputError, match=r"trainer\.devices: .* got 2 for 1\..*raise trainer\.batch"):
        run_training(*settings, "trainer.batch_size=1", "trainer.devices=2")


def test_a_loss_that_is_no_number_ends_with_advice_and_keeps_what_there_is(run_training: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"The loss became .* Lower optimizer\.lr"):
        run_training(*SMALL, "optimizer=sgd", "optimizer.lr=1e30", "trainer.epochs=3", "scheduler=constant")
    (folder,) = (tmp_path / "runs").iterdir()
    run = read_run(folder)
    assert run.metadata["status"] == "failed"
    assert "Lower optimizer.lr" in run.metadata["reason"]
    assert not run.bundle.exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=efficientnt"], "model: expected one of .*Did you mean 'efficientnet'"),
        (["optimizer.lrr=1"], r"optimizer\.lrr: there is no such key\. Did you mean 'lr'"),
        (["trainer.epochs=0"], r"trainer\.epochs: .*greater than or equal to 1, got 0"),
        (["experiment=retrian"], "experiment: expected one of .*Did you mean 'retrain'"),
        (["nonsense"], "expected KEY=VALUE"),
        (["data.validation_fold=3"], r"data\.validation_fold: expected one of .*, got 3"),
        (["data.classes=[Turdus merula]"], "no recording for training has Turdus merula"),
        (["model.hiddn=3"], r"model\.hiddn: there is no such key\. Did you mean 'hidden'"),
    ],
)
def test_settings_that_are_none_are_named_with_the_nearest_and_leave_no_run(
    overrides: list[str], message: str, run_training: Train, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        run_training("model=acoustic_mlp", *overrides)
    assert list(tmp_path.glob("runs/*")) == []


def test_added_epochs_and_a_missing_validation_part_are_said(
    run_training: Train, birds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dawnchorus")
    table = read_table(birds)
    rows = (replace(row, path=str(table.file(row).absolute())) for row in table.rows if row.split == "train")
    write_table(RecordingsTable(tmp_path, tuple(rows)))
    given = (f"data={tmp_path}", "data.validation=0", "trainer.epochs=1", "trainer.batch_size=64")
    settings = (*SMALL[:-1], *given, "trainer.min_steps=2")
    run_training(*settings)
    said = " ".join(map(sentence, caplog.records))
    assert "trainer.min_steps=2: trains 2 epochs instead of trainer.epochs=1, because an epoch has 1 steps" in said
    assert "warning: no recordings are held out for validation" in said
    assert "is without birds" not in said
    with pytest.raises(TrainingError, match=r"The trained network gives no numbers any more.* Lower optimizer\.lr"):
        run_training(*MLP, *given, "optimizer.lr=1e30")


def test_a_hub_that_is_not_there_and_a_backbone_that_is_unknown(
    run_training: Train,
) -> None:
    with pytest.raises(
        ModelNotFoundError, match="'facebook/wav2vec2-base' is neither a folder .* nor to be had from the hub"
    ):
        run_training("model=wav2vec2", "model.source=facebook/wav2vec2-base", "model.window_s=2")
    with pytest.raises(InputError, match="no such folder"):
        run_training("model=wav2vec2", "model.source=/nowhere/at/all", "model.window_s=2")
    with pytest.raises(InputError, match="timm knows no 'tf_efficientnet_lite9'"):
        run_training("model=efficientnet", "model.backbone=tf_efficientnet_lite9", "model.window_s=2")


def test_auxiliary_species_are_trained_and_not_reported(run_training: Train, birds: Path, tmp_path: Path) -> None:

    table = read_table(birds)
    others = [
        replace(
            row, recording_id=f"other-{k}", scientific_name="Avis altera", audio_hash=None, path=str(table.file(row))
        )
        for k, row in enumerate(table.rows[:4])
    ]
    other = tmp_path / "others"
    other.mkdir()
    write_table(RecordingsTable(other, tuple(others)))
    run = run_training(*SMALL, "trainer.epochs=1", f"data.auxiliary={other}", "trainer.sampling=recordings")
    assert [label.scientific_name for label in read_bundle(run.bundle).labels] == list(
        load_labeled_clips(
            compose_config([f"data={birds}"]).data,
            rate_hz=22_050,
            window_s=2.0,
            clips_folder=None,
            store=ModelStore(tmp_path),
        ).classes
    )
    with pytest.raises(InputError, match="a head on frozen embeddings learns nothing from other species"):
        run_training("model=embedding_head", f"data.auxiliary={other}")


def test_a_run_is_trained_by_one_process_at_a_time(run_training: Train, tmp_path: Path, command: Command) -> None:
    refused: list[str] = []
    listed = ("runs", "list", "--runs", tmp_path / "runs", "--csv")

    def resume_as_well(_progress: Progress) -> None:
        (run,) = find_runs(tmp_path / "runs")
        with pytest.raises(BusyError, match="another process trains this run") as error:
            resume(run.folder)
        refused.append(str(error.value))
        assert b",running," in command(*listed).stdout
        kept = command("runs", "rm", run.name, "--runs", tmp_path / "runs")
        assert (kept.returncode, b"a process is training this run" in kept.stderr) == (6, True)

    run = run_training(*SMALL, "trainer.epochs=1", report=resume_as_well)
    assert run.metadata["status"] == "done"
    assert refused
    run.update(status="running")
    assert b",interrupted," in command(*listed).stdout, "as after kill -9"
    assert command("runs", "rm", run.name, "--runs", tmp_path / "runs").returncode == 0
    assert not run.folder.exists()


def test_interrupted_run_says_how_to_resume(
    run_training: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dawnchorus")

    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(*SMALL, "trainer.epochs=3", report=interrupt)
    (run,) = find_runs(tmp_path / "runs")
    assert run.metadata["status"] == "interrupted"
    assert f"dawnchorus train --resume {run.folder}" in caplog.messages[-1]
    assert resume(run.folder).metadata["status"] == "done"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer=gpu", r"trainer\.accelerator=gpu: torch finds no GPU on this machine\. Use trainer=default"),
        ("trainer.num_workers=2", r"trainer\.num_workers: there is no such key\. Clips are read from a mapped file"),
        ("trainer.pin_memory=true", r"trainer\.pin_memory: there is no such key\. "),
        ("wandb=sweep", r"wandb: there is no such key.*tracker=wandb.*tune --sweep FILE"),
    ],
)
def test_what_this_machine_or_program_has_not_is_one_sentence(
    override: str, message: str, birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import datetime

    from dawnchorus.training.trainer import train

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=message):
        config = compose_config([*MLP, f"data={birds}", f"paths.runs={tmp_path}", override])
        train(config, started=datetime(2026, 5, 1))


def test_an_ensemble_is_the_average_of_its_members(run_training: Train, tmp_path: Path) -> None:
    bundles = [read_bundle(run_training(*SMALL, "trainer.epochs=1", f"seed={seed}").bundle) for seed in (1, 2)]
    windows = np.random.default_rng(1).normal(0, 0.1, (3, bundles[0].window_samples)).astype(np.float32)
    each = [apply_activation(open_session(b).run(windows).logits, b.info.activation) for b in bundles]
    for average, weights in (("mean", None), ("mean", [3, 1]), ("geometric", None), ("rank", None)):
        made = make_ensemble(
            bundles,
            tmp_path / f"{average}{weights}",
            name="both",
            license_name="CC0-1.0",
            average=average,
            weights=weights,
        )  # type: ignore[arg-type]
        logits = open_session(made).run(windows).logits
        if average == "mean":
            share = 0.75 if weights else 0.5
            np.testing.assert_allclose(logits, share * each[0] + (1 - share) * each[1], atol=1e-5)
        assert logits.shape == (3, 3)
    with pytest.raises(InputError, match="at least two bundles"):
        make_ensemble(bundles[:1], tmp_path / "one", name="x", license_name="CC0-1.0")


def test_a_learning_rate_that_is_too_high_is_a_training_error_also_in_the_last_epoch(run_training: Train) -> None:
    with pytest.raises(TrainingError, match=r"The validation loss became nan.* Lower optimizer\.lr"):
        run_training(*MLP, "optimizer.lr=1e30", "trainer.epochs=1", "trainer.batch_size=128")
