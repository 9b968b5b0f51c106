"""Options of training: schedules, layers, devices, what begins at random, what is logged."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from tests.fixtures.training import TINY, Train

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.runner import open_session
from dawnchorus.models.store import ModelStore
from dawnchorus.training.augment import Augment
from dawnchorus.training.compose import compose_config, family_config, refuse_contradictions
from dawnchorus.training.config import AugmentConfig, OptimizerConfig, SchedulerConfig
from dawnchorus.training.families import Context, Network
from dawnchorus.training.schedules import build_optimizer, build_scheduler
from dawnchorus.training.vocoder import change_pitch_and_speed

MLP = ("model=acoustic_mlp", "model.window_s=2", "model.hidden=[16]", "model.dropout=[0.2]", "trainer.batch_size=6")


def build(store: ModelStore, *overrides: str) -> Network:
    """Return an untrained network of three classes."""
    config = compose_config(["data=x", *overrides])
    family, shape = family_config(config, store)
    return family.build(shape, Context(("Avis a", "Avis b", "Avis c"), store))


def rates(config: SchedulerConfig, network: Network, *, n_epochs: int) -> list[float]:
    """Return the learning rate in each epoch."""
    optimizer = build_optimizer(OptimizerConfig(lr=1.0), network)
    scheduler = build_scheduler(config, optimizer, n_steps=100)
    assert scheduler is not None
    learning_rates = []
    for _ in range(n_epochs):
        learning_rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return learning_rates


def test_the_rate_falls_in_steps_or_starts_anew(store: ModelStore) -> None:
    network = build(store, *MLP)
    step = rates(SchedulerConfig(name="step", step_size=2, gamma=0.1), network, n_epochs=5)
    assert step == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    restarts = rates(SchedulerConfig(name="warm_restarts", restart_epochs=2, restart_factor=2), network, n_epochs=7)
    assert restarts == pytest.approx([1, 0.5, 1, 0.8536, 0.5, 0.1464, 1], abs=1e-4)


def test_the_schedule_of_steps_counts_epochs(run_training: Train) -> None:
    settings = (*MLP, "trainer.epochs=4", "scheduler=step", "scheduler.step_size=2", "scheduler.gamma=0.1")
    run = run_training(*settings, "trainer.batch_size=2")
    state = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(1e-5)


def test_each_epoch_has_accuracy_on_training_clips_and_what_it_cost(run_training: Train) -> None:
    run = run_training(*MLP, "trainer.epochs=2")
    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["epoch_s"]) > 0
        assert float(row["cpu_cores"]) >= 0
        assert float(row["peak_memory_mb"]) > 10


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


def test_what_begins_at_random_is_never_frozen_and_is_said(store: ModelStore) -> None:
    wave = build(store, *TINY["wav2vec2"], "model.freeze_transformer=true")
    pictures = build(store, *TINY["efficientnet"], "model.freeze=3")
    for network, words in ((wave, "Wav2Vec2 begins at random"), (pictures, "the backbone begins at random")):
        frozen = [
            name for name, w in network.named_parameters() if not w.requires_grad and not name.startswith("front_end")
        ]
        assert frozen == []
        assert words in (network.start_note or "")


@pytest.mark.parametrize(("hidden", "sizes"), [("null", []), ("5", [5]), ("[6,4]", [6, 4])], ids=["none", "one", "two"])
def test_head_has_the_configured_layers(hidden: str, sizes: list[int], band_bundle: Bundle, store: ModelStore) -> None:
    network = build(store, "model=embedding_head", f"model.backbone={band_bundle.folder}", f"model.hidden={hidden}")
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    assert [layer.out_features for layer in layers] == [*sizes, 3]


def test_the_mean_alone_of_several_windows_is_what_a_bundle_gives(run_training: Train, band_bundle: Bundle) -> None:
    run = run_training(
        "model=embedding_head", "model.n_frames=3", "model.pool=mean", "model.hidden=[8,4]", "trainer.epochs=1"
    )
    bundle = read_bundle(run.bundle)
    assert bundle.info.embedding_dim == band_bundle.info.embedding_dim
    wave = torch.randn(2, bundle.window_samples, generator=torch.Generator().manual_seed(1)).numpy() * 0.1
    n = band_bundle.window_samples
    starts = [0, round((bundle.window_samples - n) / 2), bundle.window_samples - n]
    session = open_session(band_bundle)
    each = [session.run(wave[:, start : start + n].copy(), embeddings=True).embeddings for start in starts]
    mean = sum(part for part in each if part is not None) / 3
    assert open_session(bundle).run(wave, embeddings=True).embeddings == pytest.approx(mean, abs=1e-4)


RATE_HZ = 22_050


def peak_hz(wave: torch.Tensor) -> float:
    """Return the strongest frequency of the middle of a waveform [samples]."""
    middle = wave[len(wave) // 4 : -len(wave) // 4]
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle))).abs()
    return float(spectrum.argmax()) * RATE_HZ / len(middle)


def test_pitch_and_speed_change_by_themselves() -> None:
    t = torch.arange(RATE_HZ) / RATE_HZ
    tones = torch.sin(2 * torch.pi * torch.tensor([[1000.0], [1000.0], [3000.0]]) * t)
    one, higher, slower = torch.ones(3), torch.tensor([1.0, 1.25, 0.8]), torch.tensor([1.0, 1.0, 0.7])
    same = change_pitch_and_speed(tones, one, one)
    assert torch.allclose(same, tones, atol=1e-3)
    changed = change_pitch_and_speed(tones, higher, slower)
    assert changed.shape == tones.shape
    assert [peak_hz(wave) for wave in changed] == pytest.approx([1000, 1250, 2400], rel=0.01)
    assert changed[1:].std(1) == pytest.approx(tones[1:].std(1), rel=0.1)
    song = tones[:1] * (t < 0.4)
    faster = change_pitch_and_speed(song, torch.ones(1), torch.tensor([0.5]))[0]
    assert peak_hz(faster) == pytest.approx(1000, rel=0.01)
    assert faster[: round(0.7 * RATE_HZ)].abs().mean() > 0.5, "a note lasts twice as long"
    assert faster[round(0.9 * RATE_HZ) :].abs().mean() < 0.05
    short = torch.ones(1, 3)
    assert change_pitch_and_speed(short, torch.ones(1) * 2, torch.ones(1)).shape == short.shape


def test_pitch_and_stretch_are_drawn_for_each_clip_and_again_the_same() -> None:
    tones = torch.sin(2 * torch.pi * 2000 * torch.arange(RATE_HZ) / RATE_HZ).repeat(5, 1)
    augment = Augment(AugmentConfig(pitch_shift=2.0, time_stretch=0.2))
    first, again = (augment.augment_audio(tones, torch.eye(5), torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(first, again)
    heard_hz = [peak_hz(wave) for wave in first]
    assert len({round(hz) for hz in heard_hz}) > 3
    assert min(heard_hz) > 2000 * 2 ** (-2.1 / 12)
    assert max(heard_hz) < 2000 * 2 ** (2.1 / 12)


def test_features_are_computed_anew_where_pitch_changes(run_training: Train) -> None:
    plain, shifted = (
        run_training(*MLP, "trainer.epochs=1", f"augment.pitch_shift={semitones}") for semitones in (0, 3)
    )
    assert plain.metrics["loss"] != shifted.metrics["loss"]


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("model=mel_cnn model=efficientnet", "model"),
        ("optimizer.lr=1e-3 data=x ++optimizer.lr=1e-4", "optimizer.lr"),
        ("data=one data.path=two", "data.path"),
        ("trainer.epochs=3 model=mel_cnn trainer.epochs=3 data=x", None),
    ],
)
def test_a_key_with_two_values_is_refused(given: str, key: str | None) -> None:
    if key is None:
        refuse_contradictions(given.split())
        return
    with pytest.raises(InputError, match=f"expected one value of {key}. Leave one of them out"):
        refuse_contradictions(given.split())
