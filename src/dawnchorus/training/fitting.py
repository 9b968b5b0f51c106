"""Fitting of a network with Lightning: data loaders, trainer, and checks of settings and result."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dawnchorus.data.synthesis.noise import make_noise
from dawnchorus.errors import InputError
from dawnchorus.training.augment import Augment
from dawnchorus.training.config import ProfilerConfig, TrainConfig, TrainerConfig
from dawnchorus.training.crops import CropBatchSampler, CropDataset
from dawnchorus.training.dataset import ClipDataset, DistributedBatchSampler, LabeledClips, sampling_weights
from dawnchorus.training.epochs import BEST, LAST
from dawnchorus.training.families import Network
from dawnchorus.training.inputs import Inputs
from dawnchorus.training.losses import build_loss
from dawnchorus.training.processes import choose_strategy, is_first_process, is_lost_process, lost_process
from dawnchorus.training.runs import TrainingRun
from dawnchorus.types import Report

LOG = logging.getLogger(__name__)

NOISE_SEED = 20261127
MIN_NOISES, MAX_NOISES, NOISE_BYTES = 8, 64, 64_000_000
"""Minimum and maximum number of different noises of a run, and their maximum total size in bytes."""


def _birdless(inputs: Inputs, config: TrainConfig, examples: LabeledClips, *, n_clips: int) -> torch.Tensor | None:
    """Return digital silence and synthetic noises [sounds, ...] in the form of the inputs, as negative examples.

    None with the loss "cross_entropy", which cannot use negative examples. All runs have the same noises; `n_clips`,
    the number of clips in all epochs together, limits their number.
    """
    if config.loss.name == "cross_entropy":
        return None
    clips = examples.clips
    n_drawn = math.ceil(config.data.noise_share * n_clips)
    n_noises = min(max(NOISE_BYTES // (4 * clips.window_samples), MIN_NOISES), MAX_NOISES, n_drawn)
    rng = np.random.default_rng(NOISE_SEED)
    noises = [make_noise(clips.window_samples, rate_hz=clips.rate_hz, rng=rng) for _ in range(n_noises)]
    waveforms = torch.from_numpy(np.stack([np.zeros(clips.window_samples, np.float32), *noises]))
    return inputs.convert(waveforms)


@dataclass(frozen=True)
class FitResult:
    """Result of `fit`.

    Attributes:
        metrics: metrics of the best epoch (without validation recordings, of the last) by name: loss, accuracy and,
            with validation recordings, val_loss, val_auc and val_accuracy (both over recordings), and
            val_clip_accuracy. Empty in all processes but the first.
        devices: description such as "1 x CPU (2 threads)".
        n_epochs: number of epochs trained, including those before a resume.
        elapsed_s: training time in seconds, without the time before a resume.
    """

    metrics: dict[str, float]
    devices: str
    n_epochs: int
    elapsed_s: float


def fit(
    run: TrainingRun, network: Network, config: TrainConfig, examples: LabeledClips, inputs: Inputs, *, report: Report
) -> FitResult:
    """Train until the last epoch or early stopping, and load the weights of the best epoch into the network.

    If the run's folder has a checkpoint of the last epoch, training continues from it. Of several processes, only the
    first loads the best weights, without validation recordings those of the last epoch.

    Args:
        run: the run, whose folder gets checkpoints, `metrics.csv` and logs.
        network: the network, which is changed.
        config: settings of the training.
        examples: the clips with their targets.
        inputs: form of the batches: waveforms or precomputed features.
        report: called with the progress after each epoch.

    Raises:
        InputError: settings that do not fit the data, such as more processes than clips in a batch.
        TrainingError: the loss, or a logit of the trained network, is not finite, or another process was lost.
        OutputError: no space, or no permission.
    """
    import lightning

    from dawnchorus.training.callbacks import WholeCheckpoints, best_metrics, build_callbacks, build_profiler
    from dawnchorus.training.classifier_module import ClassifierModule
    from dawnchorus.training.trackers import build_loggers

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its import has set another level
    options = config.trainer
    has_validation = len(examples.validation) > 0
    callbacks = build_callbacks(run, config, has_validation=has_validation, report=report)
    validating = _validation_loader(examples, config, inputs) if has_validation else None
    training = _training_loader(examples, config, inputs)
    n_batch = training.batch_sampler.n_per_batch
    if options.n_processes > 1:
        LOG.info(_describe_processes(options, network, n_batch))
    n_epochs = max(options.epochs, math.ceil(options.min_steps / len(training)))
    n_steps = n_epochs * len(training)
    if n_epochs > options.epochs:
        LOG.info(
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
        inputs=inputs,
        birdless=_birdless(inputs, config, examples, n_clips=n_steps * n_batch),
    )
    torch.set_num_threads(options.threads or inputs.n_threads)
    with warnings.catch_warnings():
        # Lightning's advice (workers, log intervals, tensor cores) is not for the user of this program.
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            strategy=choose_strategy(options),
            sync_batchnorm=options.n_processes > 1 and _uses_gpu(options),
            precision=_precision(options),  # type: ignore[arg-type]
            max_epochs=n_epochs,
            gradient_clip_val=options.gradient_clip_val,
            logger=build_loggers(run, config.tracker) or False,
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
        network.train()  # Lightning leaves each part in the mode that it finds it in
        last = run.folder / "checkpoints" / f"{LAST}.ckpt"
        start_s = time.monotonic()
        with _interruptible(trainer), _connected(options):
            trainer.fit(
                learner, training, validating, ckpt_path=str(last) if last.is_file() else None, weights_only=True
            )
        elapsed_s = time.monotonic() - start_s
    if not is_first_process():  # it may not see yet what the first one has written
        return FitResult({}, _devices(trainer, options.n_processes), trainer.current_epoch, elapsed_s)
    best = run.folder / "checkpoints" / f"{BEST}.ckpt"
    if best.is_file():
        learner.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    _check_logits(network, inputs, examples)
    return FitResult(best_metrics(last), _devices(trainer, options.n_processes), trainer.current_epoch, elapsed_s)


def _check_logits(network: Network, inputs: Inputs, examples: LabeledClips) -> None:
    """Check the trained network's logits of a training clip: without validation, no loss follows the last step.

    Raises:
        TrainingError: a logit is NaN or infinite.
    """
    from dawnchorus.training.classifier_module import diverged

    network.eval()
    clip = torch.from_numpy(np.array(inputs.clip(int(examples.train[0]))[np.newaxis]))
    with torch.inference_mode():
        logits, _ = network.classify(inputs.features(clip))
    if not torch.isfinite(logits).all():
        raise diverged("The trained network gives no numbers any more.")


@contextmanager
def _interruptible(trainer: Any) -> Iterator[None]:
    """Raise KeyboardInterrupt if Lightning has converted it to SystemExit in the block."""
    try:
        yield
    except SystemExit as error:
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise


@contextmanager
def _connected(options: TrainerConfig) -> Iterator[None]:
    """Say which process of several was the one that failed: another one.

    Raises:
        TrainingError: the connection to it was lost.
    """
    try:
        yield
    except RuntimeError as error:
        if options.n_processes > 1 and is_lost_process(error):
            raise lost_process(error) from error
        raise


def _describe_processes(options: TrainerConfig, network: Network, n_batch: int) -> str:
    """Describe how several processes share a batch, and over which clips batch normalization computes statistics."""
    n = options.n_processes
    text = f"{n} processes share each batch of {n_batch}: {n_batch // n} clips in each"
    if not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in network.modules()):  # noqa: SLF001
        return text
    if _uses_gpu(options):
        return f"{text}; batch statistics are of the whole batch"
    return f"{text}; batch statistics are of each process's own clips, because torch gathers them on GPUs only"


def _uses_gpu(options: TrainerConfig) -> bool:
    return options.accelerator != "cpu" and torch.cuda.is_available()


def _check_profiler(options: ProfilerConfig, *, n_steps: int) -> None:
    """Raise `InputError` if the profiler's trace would start after the last step."""
    n_before = options.wait + options.warmup
    if options.name == "torch" and n_before >= n_steps:
        raise InputError(
            f"profiler.wait and profiler.warmup: expected fewer steps than the {n_steps} of this run, got {n_before}. "
            f"Lower them, or train for more epochs."
        )


def _validation_loader(examples: LabeledClips, config: TrainConfig, inputs: Inputs) -> Any:
    from torch.utils.data import DataLoader

    data = ClipDataset(examples, examples.validation, inputs.clip)
    return DataLoader(data, batch_size=config.trainer.batch_size)


def _training_loader(examples: LabeledClips, config: TrainConfig, inputs: Inputs) -> Any:
    from torch.utils.data import DataLoader

    n, weights = sampling_weights(
        examples,
        sampling=config.trainer.sampling,
        class_balance=config.trainer.class_balance,
        auxiliary_share=config.data.auxiliary_share,
    )
    n_processes = config.trainer.n_processes
    if min(config.trainer.batch_size, n) < n_processes:
        raise InputError(
            f"trainer.devices: expected at most one process for each clip of a batch, got {n_processes} for "
            f"{min(config.trainer.batch_size, n)}. Lower it, or raise trainer.batch_size."
        )
    # Shares of one size, so that the mean of the processes' gradients is that of the whole batch.
    batch = min(config.trainer.batch_size, n) // n_processes * n_processes
    batches = DistributedBatchSampler(n, batch=batch, seed=config.seed, weights=weights)
    if examples.crops:
        return DataLoader(CropDataset(examples, seed=config.seed), batch_sampler=CropBatchSampler(batches))
    return DataLoader(ClipDataset(examples, examples.train, inputs.clip), batch_sampler=batches)


def _backgrounds(examples: LabeledClips) -> torch.Tensor | None:
    if not len(examples.backgrounds):
        return None
    return torch.from_numpy(np.stack([examples.clips.samples(k) for k in examples.backgrounds[:500].tolist()]))


def _precision(options: TrainerConfig) -> str:
    if options.precision != "auto":
        return options.precision
    return "16-mixed" if _uses_gpu(options) else "32-true"


def _devices(trainer: Any, n_processes: int) -> str:
    if torch.cuda.is_available() and trainer.accelerator.__class__.__name__ == "CUDAAccelerator":
        return f"{n_processes} x {torch.cuda.get_device_name(0)}"
    return f"{n_processes} x CPU ({torch.get_num_threads()} threads)"
