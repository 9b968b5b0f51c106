"""The trainer: continued runs, several processes, bad input, what is drawn, what is kept."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.fixtures.commands import Command
from tests.fixtures.training import Train

from dawnchorus.cli.log import sentence
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.errors import BusyError, InputError, ModelNotFoundError, OutputError, TrainingError
from dawnchorus.models.bundle import read_bundle
from dawnchorus.models.graphs.ensemble import make_ensemble
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.models.store import ModelStore
from dawnchorus.training.augment import Augment
from dawnchorus.training.compose import GROUPS, compose_config, sweep
from dawnchorus.training.config import AugmentConfig, LossConfig
from dawnchorus.training.dataset import DistributedBatchSampler, load_labeled_clips
from dawnchorus.training.families import Context, Network
from dawnchorus.training.inputs import AudioInputs
from dawnchorus.training.losses import IGNORED, build_loss
from dawnchorus.training.operators import declare_vision_operators
from dawnchorus.training.runs import find_runs, read_config, read_run
from dawnchorus.training.trainer import resume
from dawnchorus.types import Progress

SMALL = ("model=mel_cnn", "model.window_s=2", "model.channels=[8]", "model.mel.n_mels=32", "trainer.batch_size=4")
MLP = ("model=acoustic_mlp", "model.window_s=2", "model.hidden=[16]", "model.dropout=[0.2]", "trainer.batch_size=6")


def test_the_same_seed_gives_the_same_run_and_another_seed_another(run_training: Train) -> None:
    first, same, other = (run_training(*SMALL, "trainer.epochs=2", f"seed={seed}") for seed in (1, 1, 2))
    assert first.metrics == same.metrics
    assert first.metadata["bundle_id"] == same.metadata["bundle_id"]
    assert first.metrics["loss"] != other.metrics["loss"]
    assert first.folder != same.folder


class _StopError(Exception):
    """Interruption at the end of an epoch."""


def test_interrupted_run_resumes_to_the_same_metrics(run_training: Train, tmp_path: Path) -> None:
    settings = (*SMALL, "augment=light", "trainer.epochs=2")
    whole = run_training(*settings)

    def stop(progress: Progress) -> None:
        if progress.done == 1:
            raise _StopError

    with pytest.raises(_StopError):
        run_training(*settings, f"paths.runs={tmp_path / 'stopped'}", report=stop)
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


class _Ear(Network):
    """A network that keeps what it hears."""

    def __init__(self, store: ModelStore) -> None:
        super().__init__(Context(("Avis a", "Avis b"), store))
        self.waveforms: list[torch.Tensor] = []
        self.head = torch.nn.Linear(1, 2)

    def features(self, waveform: torch.Tensor) -> torch.Tensor:
        self.waveforms.append(waveform)
        return waveform.mean(1, keepdim=True)

    def classify(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.head(features), features


def test_processes_draw_different_reproducible_noise(monkeypatch: pytest.MonkeyPatch, store: ModelStore) -> None:
    declare_vision_operators()
    from dawnchorus.training.classifier_module import ClassifierModule

    config = compose_config(["data=x", "augment.noise_p=1"])
    ear = _Ear(store)
    examples = SimpleNamespace(recordings=None, presence=None, validation=())
    learner = ClassifierModule(
        ear, config, loss=build_loss(config.loss, torch.ones(2)), augment=Augment(config.augment),
        examples=examples, inputs=AudioInputs(ear, examples),  # type: ignore[arg-type]
    )  # fmt: skip
    monkeypatch.setattr(learner, "log", lambda *_args, **_options: None)
    batch = (torch.randn(2, 400, generator=rng()), torch.eye(2), torch.arange(2))
    for rank, step in ((0, 0), (1, 0), (0, 1), (1, 0)):
        monkeypatch.setattr(ClassifierModule, "global_rank", rank)
        monkeypatch.setattr(ClassifierModule, "global_step", step)
        learner.training_step(batch, 0)
    first, other, later, again = ear.waveforms
    assert not torch.equal(first, other)
    assert not torch.equal(first, later)
    assert not torch.equal(other, later)
    assert torch.equal(other, again)


def test_silence_and_some_noise_are_in_every_batch_with_none_of_the_classes(
    monkeypatch: pytest.MonkeyPatch, store: ModelStore
) -> None:
    declare_vision_operators()
    from dawnchorus.training.classifier_module import ClassifierModule

    birdless = torch.arange(9.0)[:, None].expand(9, 400)
    examples = SimpleNamespace(recordings=None, presence=None, validation=())
    batch = (torch.full((4, 400), -1.0), torch.eye(2).repeat(2, 1), torch.arange(4))
    drawn: dict[tuple[float, int], list[float]] = {}
    losses: dict[float, float] = {}
    monkeypatch.setattr(ClassifierModule, "log", lambda *_args, **_options: None)
    monkeypatch.setattr(ClassifierModule, "trainer", SimpleNamespace(world_size=1))
    for share, step in ((0.5, 0), (0.5, 1), (0.5, 0), (0.25, 0)):
        config = compose_config(["data=x", "loss=bce", f"data.noise_share={share}"])
        ear = _Ear(store)
        torch.nn.init.constant_(ear.head.weight, 0.0)
        torch.nn.init.constant_(ear.head.bias, 0.0)
        learner = ClassifierModule(
            ear, config, loss=build_loss(config.loss, torch.ones(2)), augment=Augment(config.augment),
            examples=examples, inputs=AudioInputs(ear, examples),  # type: ignore[arg-type]
            birdless=birdless,
        )  # fmt: skip
        monkeypatch.setattr(ClassifierModule, "global_step", step)
        losses[share] = learner.training_step(batch, 0).item()
        values = ear.waveforms[0][4:, 0].tolist()
        assert drawn.setdefault((share, step), values) == values, "the same step draws the same"
    assert [values[0] for values in drawn.values()] == [0, 0, 0], "silence"
    assert [len(values) for values in drawn.values()] == [3, 3, 2]
    assert drawn[0.5, 0] != drawn[0.5, 1]
    each = 2 * np.log(2)
    assert losses == pytest.approx({0.5: each * (4 + 3) / 4, 0.25: each * (4 + 2) / 4}), "each counts as a clip"


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


def test_unusable_training_data_is_named(tmp_path: Path, birds: Path, store: ModelStore) -> None:
    table = read_table(birds)

    def refused(rows: list[RecordingRow], message: str, *more: str) -> None:
        folder = tmp_path / f"set-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        write_table(RecordingsTable(folder, tuple(rows)))
        config = compose_config([f"data={folder}", "model=acoustic_mlp", *more])
        with pytest.raises(InputError, match=message):
            load_labeled_clips(config.data, rate_hz=22_050, window_s=2.0, clips_folder=None, store=store)

    rows = [replace(row, path=str(table.file(row).absolute())) for row in table.rows]
    refused([replace(row, split=None) for row in rows], "not split yet. Run `dawnchorus data split`")
    refused([replace(row, split="fold1") for row in rows], "no recording is in the part 'train'")
    one = [row for row in rows if row.scientific_name == rows[0].scientific_name]
    refused(one, "expected background beside the only species, .*Add recordings without it: a folder 'noise'")
    refused([replace(row, scientific_name=None, kind="background") for row in one], "at least one species to learn")
    silent = tmp_path / "silent.wav"
    import soundfile

    soundfile.write(silent, np.zeros(44_100), 22_050)
    quiet = [replace(row, path=str(silent), split="train") for row in rows[:8]]
    names = ["Avis a", "Avis b"]
    refused(
        [replace(row, scientific_name=names[k % 2], audio_hash=None, duplicate_of=None) for k, row in enumerate(quiet)],
        "all .* clips for training are silent",
        "data.validation=0",
    )


def test_added_epochs_and_a_missing_validation_part_are_said(
    run_training: Train, birds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dawnchorus")
    table = read_table(birds)
    rows = (replace(row, path=str(table.file(row).absolute())) for row in table.rows if row.split == "train")
    write_table(RecordingsTable(tmp_path, tuple(rows)))
    given = (f"data={tmp_path}", "data.validation=0", "trainer.epochs=1", "trainer.batch_size=64")
    settings = (*MLP, *given, "trainer.min_steps=2")
    run_training(*settings)
    said = " ".join(map(sentence, caplog.records))
    assert "trainer.min_steps=2: trains 2 epochs instead of trainer.epochs=1, because an epoch has 1 steps" in said
    assert "warning: no recordings are held out for validation" in said
    assert "is without birds" not in said


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


def test_every_choice_of_every_group_composes(birds: Path) -> None:
    for k in range(max(map(len, GROUPS.values()))):
        overrides = [f"{group}={choices[k % len(choices)]}" for group, choices in GROUPS.items()]
        assert compose_config([*overrides, f"data.path={birds}"]).data.path == str(birds)
    assert len(list(sweep(["a=1,2", "b=[1,2]", "c=x,y,z"]))) == 6


def test_batches_of_an_epoch_hold_every_clip_once_and_processes_share_them() -> None:
    batches = DistributedBatchSampler(10, batch=5, seed=1, weights=None)
    first = [k for batch in batches for k in batch]
    assert sorted(first) == list(range(10))
    batches.set_epoch(1)
    assert [k for batch in batches for k in batch] != first
    rare = torch.tensor([1.0] * 9 + [91.0])
    drawn = [k for batch in DistributedBatchSampler(1000, batch=100, seed=1, weights=rare) for k in batch]
    assert drawn.count(9) == pytest.approx(910, abs=40)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_augmentation_does_what_it_says() -> None:
    audio = torch.randn(6, 8000, generator=rng()) * 0.1
    targets = torch.eye(6)

    def changed(**options: object) -> tuple[torch.Tensor, torch.Tensor]:
        return Augment(AugmentConfig(**options), backgrounds=torch.ones(2, 8000)).augment_audio(audio, targets, rng())  # type: ignore[arg-type]

    same, same_targets = changed()
    assert torch.equal(same, audio)
    assert torch.equal(same_targets, targets)
    louder, _ = changed(gain_db=6.0)
    gains_db = 20 * torch.log10(louder.std(1) / audio.std(1))
    assert gains_db.abs().max() <= 6.01
    assert gains_db.std() > 1
    shifted, _ = changed(time_roll=1.0)
    assert torch.equal(shifted.sort(1).values, audio.sort(1).values)
    assert not torch.equal(shifted, audio)
    noisy, _ = changed(noise_p=1.0, noise_snr_db=(10.0, 10.0))
    snr_db = 20 * torch.log10(audio.std(1) / (noisy - audio).std(1))
    assert snr_db.numpy() == pytest.approx(np.full(6, 10), abs=0.3)
    laid, _ = changed(background_p=1.0, background_snr_db=(0.0, 0.0))
    assert (laid - audio).std(1).max() < 1e-3, "the background is constant"
    mixed, shares = changed(mixup_p=1.0)
    assert shares.sum(1).numpy() == pytest.approx(np.ones(6), abs=1e-5)
    assert (shares.max(1).values >= 0.5).all()
    k = int(shares.max(1).values.argmin())
    own, other = int(shares[k].argmax()), int(shares[k].argsort()[-2])
    alike = audio[other] * audio[own].std() / audio[other].std()
    expected = shares[k, own].sqrt() * audio[own] + shares[k, other].sqrt() * alike
    assert torch.allclose(mixed[k], expected, atol=0.02), "energies are in the shares, however loud each was"
    _, both = changed(mixup_p=1.0, mixup_target="both")
    assert set(both.unique().tolist()) == {0.0, 1.0}
    tilted, _ = changed(tilt_db=12.0)
    assert not torch.allclose(tilted, audio)
    assert tilted.shape == audio.shape


def test_masks_hide_and_bands_move() -> None:
    spectrogram = torch.arange(40.0).reshape(1, 1, 40, 1).expand(4, 1, 40, 100).clone()
    masked = Augment(AugmentConfig(time_masks=2, freq_masks=1, n_cutouts=1)).augment_spectrogram(spectrogram, rng())
    hidden = masked != spectrogram
    assert 0 < hidden.float().mean() < 0.6
    assert torch.allclose(masked[hidden], torch.full_like(masked[hidden], 19.5)), "behind the mean"
    moved = Augment(AugmentConfig(freq_shift=3)).augment_spectrogram(spectrogram, rng())
    steps = (moved - spectrogram)[:, 0, 20, 0]
    assert steps.abs().max() <= 3
    assert len(steps.unique()) > 1


def test_losses_ignore_what_does_not_count_and_weigh_what_is_rare() -> None:
    logits = torch.tensor([[2.0, 0.0, 5.0]])
    target = torch.tensor([[1.0, 0.0, IGNORED]])
    for name in ("cross_entropy", "bce", "focal"):
        loss = build_loss(LossConfig(name=name, label_smoothing=0), torch.ones(3))
        changed = loss(logits + torch.tensor([[0.0, 0.0, 9.0]]), target)
        assert loss(logits, target).item() == pytest.approx(changed.item(), abs=1e-5), name
    plain = build_loss(LossConfig(name="cross_entropy", label_smoothing=0), torch.ones(2))(
        torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    )
    assert plain.item() == pytest.approx(-np.log(np.e / (np.e + 1)), abs=1e-6)
    weighted = build_loss(
        LossConfig(name="cross_entropy", label_smoothing=0, class_weights=True), torch.tensor([1.0, 3.0])
    )
    rare, common = (weighted(torch.zeros(1, 2), torch.eye(2)[[k]]).item() for k in (0, 1))
    assert rare == pytest.approx(3 * common)
    focal = build_loss(LossConfig(name="focal", focal_gamma=2), torch.ones(1))
    easy = focal(torch.tensor([[3.0]]), torch.ones(1, 1)).item()
    p = 1 / (1 + np.exp(-3))
    assert easy == pytest.approx(-np.log(p) * (1 - p) ** 2, rel=1e-4)


def test_trackers_and_profilers_write_into_the_run(run_training: Train) -> None:
    pytest.importorskip("tensorboard")
    run = run_training(*MLP, "trainer.epochs=1", "tracker=tensorboard", "profiler=simple")
    assert list((run.folder / "tensorboard").glob("events*"))
    assert list((run.folder / "reports").glob("*profile*"))
    assert (run.folder / "metrics.csv").read_text().startswith("epoch")


@pytest.mark.ops
def test_wandb_writes_offline_into_the_run_and_mlflow_next_to_it(run_training: Train, program: Command) -> None:
    pytest.importorskip("wandb", reason="pip install 'dawnchorus[track]'")
    pytest.importorskip("mlflow", reason="pip install 'dawnchorus[track]'")
    settings = [*MLP, "trainer.epochs=1", "trainer.accelerator=cpu", "optimizer.lr=0.0123"]
    first = run_training("seed=5", *settings)
    settings += [f"data={read_config(first)['data']['path']}", f"paths.runs={first.folder.parent}"]
    # Both leave threads and handlers behind, so each has a process of its own.
    for tracker in ("wandb", "mlflow"):
        done = program("train", *settings, f"tracker={tracker}", f"name={tracker}")
        assert done.returncode == 0, done.stderr
    (logged,) = first.folder.parent.glob("*-wandb/wandb/offline-run-*/*.wandb")
    assert logged.stat().st_size > 1000
    with closing(sqlite3.connect(first.folder.parent / "mlflow.db")) as tracked:
        assert dict(tracked.execute("SELECT key, value FROM params"))["optimizer/lr"] == "0.0123"
        metrics = dict(tracked.execute("SELECT key, value FROM metrics"))
    assert {"loss", "val_auc"} <= set(metrics)


def test_profiler_traces_the_configured_steps(run_training: Train) -> None:
    settings = (*MLP, "trainer.epochs=1", "profiler=torch", "profiler.wait=2", "profiler.active=2")
    run = run_training(*settings, "profiler.record_shapes=true", "profiler.profile_memory=true")
    trace = json.loads((run.folder / "reports" / "trace.json").read_text())["traceEvents"]
    steps = {event["name"] for event in trace if event.get("name", "").startswith("ProfilerStep#")}
    assert steps == {"ProfilerStep#3", "ProfilerStep#4"}
    table = (run.folder / "reports" / "profile.txt").read_text()
    assert "Input Shapes" in table
    assert "CPU Mem" in table
    with pytest.raises(InputError, match=r"profiler\.wait and profiler\.warmup: expected fewer steps than the 12"):
        run_training(*settings, "profiler.wait=30")


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


def test_the_commands_from_training_to_a_report(birds: Path, tmp_path: Path, command: Command) -> None:
    runs, settings = tmp_path / "runs", [*MLP, f"data={birds}", "trainer.epochs=2", "trainer.accelerator=cpu"]
    done = command("train", *settings, f"paths.runs={runs}", "--multirun", "optimizer.lr=1e-2,1e-3")
    assert done.returncode == 0, done.stderr
    bundles = [Path(line) for line in done.stdout.decode().split()]
    assert len(bundles) == 2
    listed = json.loads(command("runs", "list", "--runs", runs, "--json").stdout)
    assert [run["status"] for run in listed] == ["done", "done"]
    names = [bundle.parent.name for bundle in bundles]
    compared = command("runs", "compare", *names, "--runs", runs).stdout.decode()
    assert "optimizer.lr" in compared
    assert "0.01" in compared
    assert command("runs", "plot", "--runs", runs, "--out", tmp_path / "p.png").returncode == 0
    assert (tmp_path / "p.png").stat().st_size > 10_000
    report = command("evaluate", *bundles, birds, "--out", tmp_path / "report", "--thresholds", tmp_path / "t.csv")
    assert report.returncode == 0, report.stderr
    assert b" minus acoustic_mlp, on what both know (" in report.stdout
    evaluations = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    first = evaluations["evaluations"][0]
    n_named = sum(row.split == "test" and row.scientific_name is not None for row in read_table(birds).rows)
    assert sum(map(sum, first["confusion"])) == n_named
    assert 0 <= first["by_recording"]["top_1"]["low"] <= first["by_recording"]["top_1"]["value"] <= 1
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert page.count('class="card"') == n_named - sum(row[k] for k, row in enumerate(first["confusion"]))
    assert (tmp_path / "t.csv").read_text().startswith("scientific_name,min_score")
    submission = tmp_path / "submission.csv"
    assert command("evaluate", bundles[0], birds, "--submission", submission).returncode == 0
    header, first_row = submission.read_text().splitlines()[:2]
    assert header.startswith("row_id,")
    assert first_row.split(",")[0].endswith("_5")
    sample = tmp_path / "sample.csv"
    sample.write_text("row_id,gretit1\nnothing_5,0\n")
    refused = command(
        "evaluate", bundles[0], birds, "--submission", submission, "--sample-submission", sample, "--overwrite"
    )
    assert refused.returncode == 2
    assert command("runs", "rm", *names, "--runs", runs).returncode == 0
    assert not bundles[0].exists()


@pytest.mark.ops
def test_the_leaderboard_trains_and_measures_recipes(birds: Path, tmp_path: Path, command: Command) -> None:
    runs = tmp_path / "runs"
    board = command(
        "leaderboard",
        birds,
        "--recipe",
        "acoustic-95",
        "trainer.epochs=1",
        f"paths.runs={runs}",
        "--seeds",
        "2",
        "--random-split",
        "--out",
        tmp_path / "b.json",
    )
    assert board.returncode == 0, board.stderr
    (entry,) = json.loads((tmp_path / "b.json").read_text())
    assert entry["recipe"] == "acoustic-95"
    assert entry["ms_per_5_s"] > 0
    assert len(entry["runs"]) == 2
    singles = [json.loads((runs / name / "run.json").read_text()) for name in entry["runs"]]
    assert entry["n_trainable_parameters"] == sum(single["n_trainable_parameters"] for single in singles)
    assert [single["metrics"]["test_top_1"] for single in singles] == [each["top_1"] for each in entry["by_seed"]]
    assert read_bundle(Path(entry["bundle"])).info.family == "ensemble"
    assert 0 <= entry["grouped_split_accuracy"] <= 1


def test_a_checkpoint_that_does_not_fit_leaves_the_last_good_one(tmp_path: Path) -> None:
    declare_vision_operators()
    from dawnchorus.training.callbacks import WholeCheckpoints

    resource = pytest.importorskip("resource")
    path, writer = tmp_path / "last.ckpt", WholeCheckpoints()
    writer.save_checkpoint({"state_dict": {"w": torch.zeros(10)}}, path)
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            writer.save_checkpoint({"state_dict": {"w": torch.zeros(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert len(torch.load(path, weights_only=True)["state_dict"]["w"]) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_log_of_a_continued_run_is_whole(tmp_path: Path) -> None:
    declare_vision_operators()
    from dawnchorus.training.callbacks import write_metrics

    for epoch, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (3, 0.71), (4, 0.6)):
        write_metrics(tmp_path / "metrics.csv", epoch, {"loss": loss})
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines == ["epoch,loss", "1,0.9", "2,0.8", "3,0.71", "4,0.6"]


def test_a_front_end_stays_in_single_precision(run_training: Train) -> None:
    # Half precision would overflow in energies; bfloat16 is what a CPU can try.
    run = run_training(*SMALL, "model.mel.learn=true", "trainer.epochs=1", "trainer.precision=bf16-mixed")
    assert np.isfinite(run.metrics["val_loss"])


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

    run = run_training(*MLP, "trainer.epochs=1", report=resume_as_well)
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
        run_training(*MLP, "trainer.epochs=4", report=interrupt)
    (run,) = find_runs(tmp_path / "runs")
    assert run.metadata["status"] == "interrupted"
    assert f"dawnchorus train --resume {run.folder}" in caplog.messages[-1]
    assert resume(run.folder).metadata["status"] == "done"
