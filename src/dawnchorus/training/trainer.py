"""A run from its configuration to its bundle."""

from __future__ import annotations

import logging
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import Timeout

from dawnchorus.cores import usable_cores
from dawnchorus.data.synthesis.noise import make_noise
from dawnchorus.errors import BusyError, DawnChorusError, InputError, OutputError, TrainingError
from dawnchorus.evaluation.background import describe_background, describe_unmeasured, measure_background
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.training.augment import Augment
from dawnchorus.training.bundles import choose_activation, write_trained_bundle
from dawnchorus.training.compose import family_config, validate_config
from dawnchorus.training.config import ProfilerConfig, TrainConfig, TrainerConfig
from dawnchorus.training.crops import CropBatchSampler, CropDataset
from dawnchorus.training.dataset import (
    ClipDataset,
    DistributedBatchSampler,
    LabeledClips,
    load_labeled_clips,
    sampling_weights,
)
from dawnchorus.training.epochs import BEST, LAST, OnEpoch
from dawnchorus.training.families import Context, Network
from dawnchorus.training.features import birdless_features, fixed_features
from dawnchorus.training.losses import build_loss, loss_for
from dawnchorus.training.operators import declare_vision_operators
from dawnchorus.training.runs import TrainingRun, new_run, read_config, read_run
from dawnchorus.training.validation import validation_scores

FloatArray = npt.NDArray[np.float32]

FEATURE_BATCH = 16
N_SHOWN, SHOWN_BYTES = 256, 32_000_000
"""A network looks at so many clips, or fixed features, before it learns: for means and deviations."""

NOISE_SEED = 20261127
MIN_NOISES, MAX_NOISES, NOISE_BYTES = 8, 64, 64_000_000
"""Sounds of noise that a run draws from: fewer where windows are long."""


def open_store(config: TrainConfig) -> ModelStore:
    """Return the store of built-in models and pretrained weights."""
    return ModelStore(Path(config.paths.models) if config.paths.models else default_folder())


def train(
    config: TrainConfig,
    *,
    started: datetime,
    overrides: list[str] | None = None,
    on_epoch: OnEpoch = lambda _report: None,
    on_note: Callable[[str], None] = lambda _text: None,
) -> TrainingRun:
    """Train a model, and write its run and bundle.

    Raises:
        InputError: a configuration or data set that cannot be trained on; no run is left then.
        TrainingError: the loss is no number any more.
        OutputError: no space, or no permission.
    """
    run = new_run(
        Path(config.paths.runs),
        label=config.name or str(config.model["family"]),
        started=started,
        config=config.model_dump(mode="json"),
        overrides=overrides or [],
    )
    try:
        return _run_training(run, config, on_epoch, on_note)
    except DawnChorusError as error:
        if _is_refusal(run, error):
            shutil.rmtree(run.folder, ignore_errors=True)
        raise


def _is_refusal(run: TrainingRun, error: DawnChorusError) -> bool:
    """Return True if settings or data were refused before anything was learned."""
    return not isinstance(error, OutputError | TrainingError) and not (run.folder / "checkpoints").is_dir()


def resume(
    folder: Path, *, on_epoch: OnEpoch = lambda _report: None, on_note: Callable[[str], None] = print
) -> TrainingRun:
    """Resume an interrupted run from its last checkpoint.

    Raises:
        InputError: there is no such run, or it is done.
    """
    run = read_run(folder)
    if run.metadata["status"] == "done":
        raise InputError(f"{folder}: this run is done. Its bundle: {run.bundle}")
    return _run_training(run, validate_config(read_config(run)), on_epoch, on_note)


def _run_training(
    run: TrainingRun, config: TrainConfig, on_epoch: OnEpoch, on_note: Callable[[str], None]
) -> TrainingRun:
    lock = run.lock
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"{run.folder}: another process trains this run. Wait for it, or end it.") from None
    try:
        return _train_and_record(run, config, on_epoch, on_note)
    finally:
        lock.release()


def _train_and_record(
    run: TrainingRun, config: TrainConfig, on_epoch: OnEpoch, on_note: Callable[[str], None]
) -> TrainingRun:
    """Train, and write into the run how that ended."""
    try:
        return _train(run, config, on_epoch, on_note)
    except (OSError, OutputError) as error:
        _record_end(run, status="failed", reason=str(error))
        raise OutputError(
            f"{run.folder}: cannot be written ({error}). The last good checkpoint is kept: free some space and run "
            f"`dawnchorus train --resume {run.folder}`."
        ) from error
    except DawnChorusError as error:
        _record_end(run, status="failed", reason=str(error))
        raise
    except KeyboardInterrupt:
        _record_end(run, status="interrupted")
        if (run.folder / "checkpoints").is_dir():
            on_note(f"interrupted; `dawnchorus train --resume {run.folder}` resumes from the last epoch")
        raise
    except Exception as error:
        _record_end(run, status="failed", reason=f"{type(error).__name__}: {error}")
        raise


def _record_end(run: TrainingRun, **changes: str) -> None:
    """Write how the run ended, if there is still space to."""
    with suppress(OutputError):
        run.update(**changes)


def _train(run: TrainingRun, config: TrainConfig, on_epoch: OnEpoch, on_note: Callable[[str], None]) -> TrainingRun:
    declare_vision_operators()
    from dawnchorus.training.trackers import check_tracker  # it imports Lightning, which looks for these operators

    _check_devices(config.trainer)
    config = config.model_copy(update={"tracker": check_tracker(config.tracker, on_note)})
    store = open_store(config)
    family, shape = family_config(config, store)
    clips_folder = Path(config.paths.clips) if config.paths.clips else None
    start_s = time.monotonic()
    examples = load_labeled_clips(
        config.data, rate_hz=shape.rate_hz, window_s=shape.window_s, clips_folder=clips_folder, store=store
    )
    if run.metadata.get("data", examples.fingerprint) != examples.fingerprint:
        raise InputError(
            f"{run.folder}: its data set has other recordings, labels or parts than when the run began. Put them back, "
            f"or start a new run."
        )
    for line in examples.warnings:
        on_note(f"warning: {line}")
    recipe = config.recipe()
    config = _with_chosen_loss(config, examples, on_note)
    torch.manual_seed(config.seed)
    output_names = (*examples.classes, *(f"auxiliary {k}" for k in range(examples.n_auxiliary)))
    network = family.build(shape, Context(output_names, store))
    # Channels innermost: the layout that convolutions of oneDNN and of tensor cores are fastest in.
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in torch's stubs
    network.n_outputs = len(examples.classes) if examples.n_auxiliary else None
    if examples.n_auxiliary and family.base_bundle(shape):
        raise InputError("data.auxiliary: a head on frozen embeddings learns nothing from other species; leave it out.")
    name = family.base_bundle(shape)
    backbone = store.open(name) if name else None
    is_fixed = _has_fixed_features(network, config)
    before_features = time.monotonic()
    with fixed_features(network, examples, scratch=run.folder) if is_fixed else nullcontext() as features:
        _show_clips(network, examples, features)
        features_s, prepared_s = time.monotonic() - before_features, time.monotonic() - start_s
        run = _record_sizes(run, network, examples, on_note)
        fit = _fit(run, network, config, examples, features, on_epoch=on_epoch, on_note=on_note)
        held_out = validation_scores(
            network,
            examples,
            features,
            activation=choose_activation(config),
            window_s=shape.window_s,
            batch=config.trainer.batch_size,
        )
        background = None if held_out is None else measure_background(held_out)
        name = config.name or str(config.model["family"])
        if held_out is None:
            on_note(describe_unmeasured(model=name))
        else:
            for line in describe_background(background, model=name, activation=choose_activation(config)):
                on_note(line)
        bundle = write_trained_bundle(
            run.bundle,
            network,
            config,
            shape,
            examples,
            recipe=recipe,
            backbone=backbone,
            pretrained=family.pretrained(shape),
            metrics=fit.metrics,
            held_out=held_out,
            effort=f"{fit.n_epochs} epochs in {fit.elapsed_s:.0f} s on {fit.devices}",
        )
        return run.update(
            status="done",
            metrics=fit.metrics,
            background=None if background is None else background.as_record(),
            devices=fit.devices,
            epochs=fit.n_epochs,
            fit_s=round(fit.elapsed_s, 3),
            features_s=round(features_s, 3),
            prepared_s=round(prepared_s, 3),
            bundle_id=bundle.id,
            bundle_bytes=bundle.graph_path.stat().st_size,
        )


def _with_chosen_loss(config: TrainConfig, examples: LabeledClips, on_note: Callable[[str], None]) -> TrainConfig:
    """Return the configuration with the loss that is trained with; say why where it is not the one asked for."""
    loss = loss_for(config.loss, torch.from_numpy(examples.targets[examples.train]))
    if config.loss.name == "cross_entropy" and loss.name == "bce":
        on_note(
            "one class: trained with loss.name=bce, because with cross_entropy the score of an only class is always 1"
        )
    elif config.loss.name == "auto" and loss.name == "bce" and len(examples.classes) > 1:
        on_note("loss=bce: some clips have none of the species, or several, so each species is scored by itself")
    elif loss.name == "cross_entropy" and len(examples.backgrounds):
        on_note(
            f"warning: loss=cross_entropy learns nothing from the {len(examples.backgrounds)} clips of background, and "
            f"some species is detected in noise. loss=bce learns from them."
        )
    return config.model_copy(update={"loss": loss})


def _birdless(
    network: Network, config: TrainConfig, examples: LabeledClips, *, n_clips: int, fixed: bool
) -> torch.Tensor | None:
    """Return digital silence and then synthetic noise, as a batch for training has them [sounds, ...].

    None where the loss learns nothing from them. Every run has the same ones, and draws from them by its seed; one that
    sees few clips (`n_clips`, counted whenever they come) has no more than it draws.
    """
    if config.loss.name == "cross_entropy":
        return None
    clips = examples.clips
    n_drawn = math.ceil(config.data.noise_share * n_clips)
    n_noises = min(max(NOISE_BYTES // (4 * clips.window_samples), MIN_NOISES), MAX_NOISES, n_drawn)
    rng = np.random.default_rng(NOISE_SEED)
    noises = [make_noise(clips.window_samples, rate_hz=clips.rate_hz, rng=rng) for _ in range(n_noises)]
    birdless = torch.from_numpy(np.stack([np.zeros(clips.window_samples, np.float32), *noises]))
    return birdless_features(network, birdless, clips.folder) if fixed else birdless


def _check_devices(options: TrainerConfig) -> None:
    """Refuse processors that are not there."""
    if options.accelerator == "cpu":
        return
    n_gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if options.accelerator == "gpu" and not n_gpus:
        raise InputError(
            "trainer.accelerator=gpu: torch finds no GPU on this machine. Use trainer=default, which also runs without."
        )
    if n_gpus and options.devices > n_gpus:
        raise InputError(
            f"trainer.devices: expected at most the {n_gpus} GPUs of this machine, got {options.devices}. For several "
            f"processes on the CPU: trainer.accelerator=cpu."
        )


def _record_sizes(
    run: TrainingRun, network: Network, examples: LabeledClips, on_note: Callable[[str], None]
) -> TrainingRun:
    """Write the sizes of network and data into the run."""
    n_trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    what = "recordings to crop in each epoch" if examples.crops else "clips to learn from"
    on_note(
        f"{len(examples.classes)} species, {len(examples.train)} {what}, {len(examples.validation)} to "
        f"validate on; {n_trainable:,} trainable parameters"
    )
    if network.start_note:
        on_note(network.start_note)
    return run.update(
        n_classes=len(examples.classes),
        n_train=len(examples.train),
        n_validation=len(examples.validation),
        data=examples.fingerprint,
        n_parameters=sum(p.numel() for p in network.parameters()),
        n_trainable_parameters=n_trainable,
    )


def _has_fixed_features(network: Network, config: TrainConfig) -> bool:
    """Return True if the front end gives the same for a clip in every epoch."""
    augment = config.augment
    changes_sound = (
        augment.gain_db,
        augment.time_roll,
        augment.pitch_shift,
        augment.time_stretch,
        augment.tilt_db,
        augment.noise_p,
        augment.background_p,
    )
    return network.has_fixed_features and config.data.crop == "fixed" and not any(changes_sound)


def _show_clips(network: Network, examples: LabeledClips, features: FloatArray | None) -> None:
    """Show the network some of the training clips, as many as fit into `SHOWN_BYTES`, before it is trained."""
    n_shown = N_SHOWN if features is None else max(SHOWN_BYTES // features[0].nbytes, N_SHOWN)
    some = examples.train[:: -(-len(examples.train) // n_shown)]
    if features is not None:
        network.prepare(torch.from_numpy(features[some]))
        return
    with torch.inference_mode():
        audio = torch.from_numpy(np.stack([examples.clips.samples(k) for k in some.tolist()]))
        network.prepare(torch.cat([network.features(chunk) for chunk in audio.split(FEATURE_BATCH)]))


@dataclass(frozen=True)
class _FitResult:
    metrics: dict[str, float]
    devices: str
    n_epochs: int
    elapsed_s: float


def _fit(
    run: TrainingRun,
    network: Network,
    config: TrainConfig,
    examples: LabeledClips,
    features: FloatArray | None,
    *,
    on_epoch: OnEpoch,
    on_note: Callable[[str], None],
) -> _FitResult:
    """Train until the epochs are over or nothing gets better; the network then has its best weights."""
    import lightning

    from dawnchorus.training.callbacks import WholeCheckpoints, best_metrics, build_callbacks, build_profiler
    from dawnchorus.training.classifier_module import ClassifierModule
    from dawnchorus.training.trackers import build_loggers

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its import has set another level
    options = config.trainer
    has_validation = len(examples.validation) > 0
    callbacks = build_callbacks(run, config, has_validation=has_validation, on_epoch=on_epoch)
    training = _loader(examples, examples.train, config, features, learn=True)
    n_batch = training.batch_sampler.n_per_batch
    if options.devices > 1:
        on_note(_describe_processes(options, network, n_batch))
    n_epochs = max(options.epochs, math.ceil(options.min_steps / len(training)))
    n_steps = n_epochs * len(training)
    if n_epochs > options.epochs:
        on_note(
            f"trainer.min_steps={options.min_steps}: trains {n_epochs} epochs instead of trainer.epochs="
            f"{options.epochs}, because an epoch has {len(training)} steps"
        )
    _check_profiler(config.profiler, n_steps=n_steps)
    learner = ClassifierModule(
        network,
        config,
        loss=build_loss(config.loss, examples.class_counts),
        augment=Augment(config.augment, backgrounds=_backgrounds(examples)),
        examples=examples,
        fixed=features is not None,
        birdless=_birdless(network, config, examples, n_clips=n_steps * n_batch, fixed=features is not None),
    )
    # A small head is done before a second thread has woken up.
    torch.set_num_threads(options.threads or (usable_cores() if features is None else 1))
    with warnings.catch_warnings():
        # Lightning's advice (workers, log intervals, tensor cores) is not for the user of this program.
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            # Forked, not started anew: clips stay mapped once, and there is one run.
            strategy="ddp_fork" if options.devices > 1 else "auto",
            sync_batchnorm=options.devices > 1 and _uses_gpu(options),
            precision=_precision(options),  # type: ignore[arg-type]
            max_epochs=n_epochs,
            gradient_clip_val=options.gradient_clip_val,
            logger=build_loggers(run, config.tracker, on_note) or False,
            callbacks=callbacks,
            profiler=build_profiler(run, config),
            plugins=[WholeCheckpoints()],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1_000_000,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            deterministic="warn",
            default_root_dir=str(run.folder),
        )
        validating = _loader(examples, examples.validation, config, features, learn=False) if has_validation else None
        network.train()  # Lightning leaves each part in the mode that it finds it in
        last = run.folder / "checkpoints" / f"{LAST}.ckpt"
        start_s = time.monotonic()
        with _interruptible(trainer):
            trainer.fit(
                learner, training, validating, ckpt_path=str(last) if last.is_file() else None, weights_only=True
            )
        elapsed_s = time.monotonic() - start_s
    best = run.folder / "checkpoints" / f"{BEST}.ckpt"
    if best.is_file():
        learner.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    return _FitResult(best_metrics(last), _devices(trainer), trainer.current_epoch, elapsed_s)


@contextmanager
def _interruptible(trainer: Any) -> Iterator[None]:
    """Raise KeyboardInterrupt again where Lightning has made a silent end of the process out of it."""
    try:
        yield
    except SystemExit as error:
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise


def _describe_processes(options: TrainerConfig, network: Network, n_batch: int) -> str:
    """Say what several processes do with a batch and its statistics."""
    text = f"{options.devices} processes share each batch of {n_batch}: {n_batch // options.devices} clips in each"
    if not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in network.modules()):  # noqa: SLF001
        return text
    if _uses_gpu(options):
        return f"{text}; batch statistics are of the whole batch"
    return f"{text}; batch statistics are of each process's own clips, because torch gathers them on GPUs only"


def _uses_gpu(options: TrainerConfig) -> bool:
    return options.accelerator != "cpu" and torch.cuda.is_available()


def _check_profiler(options: ProfilerConfig, *, n_steps: int) -> None:
    """Refuse a trace that would begin after the end."""
    n_before = options.wait + options.warmup
    if options.name == "torch" and n_before >= n_steps:
        raise InputError(
            f"profiler.wait and profiler.warmup: expected fewer steps than the {n_steps} of this run, got {n_before}. "
            f"Lower them, or train for more epochs."
        )


def _loader(
    examples: LabeledClips,
    members: npt.NDArray[np.int64],
    config: TrainConfig,
    features: FloatArray | None,
    *,
    learn: bool,
) -> Any:
    from torch.utils.data import DataLoader

    data = ClipDataset(examples, members, features)
    if not learn:
        return DataLoader(data, batch_size=config.trainer.batch_size)
    n, weights = sampling_weights(
        examples,
        sampling=config.trainer.sampling,
        class_balance=config.trainer.class_balance,
        auxiliary_share=config.data.auxiliary_share,
    )
    n_devices = config.trainer.devices
    if min(config.trainer.batch_size, n) < n_devices:
        raise InputError(
            f"trainer.devices: expected at most one process for each clip of a batch, got {n_devices} for "
            f"{min(config.trainer.batch_size, n)}. Lower it, or raise trainer.batch_size."
        )
    # Shares of one size, so that the mean of the processes' gradients is that of the whole batch.
    batch = min(config.trainer.batch_size, n) // n_devices * n_devices
    batches = DistributedBatchSampler(n, batch=batch, seed=config.seed, weights=weights)
    if examples.crops:
        return DataLoader(CropDataset(examples, seed=config.seed), batch_sampler=CropBatchSampler(batches))
    return DataLoader(data, batch_sampler=batches)


def _backgrounds(examples: LabeledClips) -> torch.Tensor | None:
    if not len(examples.backgrounds):
        return None
    return torch.from_numpy(np.stack([examples.clips.samples(k) for k in examples.backgrounds[:500].tolist()]))


def _precision(options: TrainerConfig) -> str:
    if options.precision != "auto":
        return options.precision
    return "16-mixed" if _uses_gpu(options) else "32-true"


def _devices(trainer: Any) -> str:
    if torch.cuda.is_available() and trainer.accelerator.__class__.__name__ == "CUDAAccelerator":
        return f"{trainer.num_devices} x {torch.cuda.get_device_name(0)}"
    return f"{trainer.num_devices} x CPU ({torch.get_num_threads()} threads)"
