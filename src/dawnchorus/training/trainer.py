"""Training of a model, from configuration to bundle."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from filelock import FileLock, Timeout

from dawnchorus.errors import BusyError, DawnChorusError, InputError, OutputError, TrainingError
from dawnchorus.evaluation.background import describe_background, describe_unmeasured, measure_background
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.training.bundles import choose_activation, write_trained_bundle
from dawnchorus.training.compose import family_config, validate_config
from dawnchorus.training.config import TrackerConfig, TrainConfig, TrainerConfig
from dawnchorus.training.dataset import LabeledClips, load_labeled_clips
from dawnchorus.training.families import Context, Family, FamilyConfig, Network
from dawnchorus.training.fitting import fit
from dawnchorus.training.inputs import open_inputs
from dawnchorus.training.losses import loss_for
from dawnchorus.training.processes import Processes, join_processes
from dawnchorus.training.runs import TrainingRun, new_run, read_config, read_run
from dawnchorus.training.validation import validation_scores
from dawnchorus.types import Report, ignore_progress

LOG = logging.getLogger(__name__)


def open_store(config: TrainConfig) -> ModelStore:
    """Return the configured store of built-in models and pretrained weights."""
    return ModelStore(Path(config.paths.models) if config.paths.models else default_folder())


def train(
    config: TrainConfig, *, started: datetime, overrides: list[str] | None = None, report: Report = ignore_progress
) -> TrainingRun:
    """Train a model, and write its run and bundle.

    If torchrun or SLURM has started several processes, each calls this with the same configuration, and gets the same
    run.

    Args:
        config: the configuration.
        started: local start time, for the name of the run's folder.
        overrides: the overrides that the user gave, to be stored in the run; None for none.
        report: called with the progress after each epoch, in the first process only.

    Raises:
        InputError: the configuration or the data set cannot be trained on.
        MissingExtraError: the package of the configured tracker is not installed.
        ModelError: a backbone or pretrained weights cannot be loaded. After this and the errors above, the run's folder
            is deleted unless it has a checkpoint.
        TrainingError: the loss is not finite, or another process of the training was lost.
        OutputError: no space, or no permission.
    """
    processes = join_processes(config.trainer)
    create_run = partial(
        new_run,
        Path(config.paths.runs),
        label=config.name or str(config.model["family"]),
        started=started,
        config=config.model_dump(mode="json"),
        overrides=overrides or [],
    )
    run = processes.share(create_run)
    try:
        return _run_training(run, config, report, processes)
    except DawnChorusError as error:
        if processes.is_first and _is_refusal(run, error):
            shutil.rmtree(run.folder, ignore_errors=True)
        raise


def _is_refusal(run: TrainingRun, error: DawnChorusError) -> bool:
    """Return True if settings or data were rejected before the first checkpoint."""
    return not isinstance(error, OutputError | TrainingError) and not (run.folder / "checkpoints").is_dir()


def resume(folder: Path, *, report: Report = ignore_progress) -> TrainingRun:
    """Resume an interrupted or failed run from its last checkpoint, or from the start if it has none.

    Args:
        folder: the run's folder.
        report: called with the progress after each epoch, in the first process only.

    Raises:
        InputError: there is no such run, the run is done, or its data set has changed.
        BusyError: another process trains the run.
        MissingExtraError, ModelError, TrainingError, OutputError: see `train`.
    """
    run = read_run(folder)
    if run.metadata["status"] == "done":
        raise InputError(f"this run is done. Its bundle: {run.bundle}", subject=folder)
    config = validate_config(read_config(run))
    return _run_training(run, config, report, join_processes(config.trainer))


def _run_training(run: TrainingRun, config: TrainConfig, report: Report, processes: Processes) -> TrainingRun:
    lock = run.lock
    processes.share(partial(_acquire, lock, run))
    try:
        return (_train_and_record if processes.is_first else _assist)(run, config, report, processes)
    finally:
        lock.release()


def _acquire(lock: FileLock, run: TrainingRun) -> None:
    try:
        lock.acquire()
    except Timeout:
        raise BusyError("another process trains this run. Wait for it, or end it.", subject=run.folder) from None


def _assist(run: TrainingRun, config: TrainConfig, report: Report, processes: Processes) -> TrainingRun:
    """Train with the first process, which writes the run.

    Raises:
        InputError: this process does not see the run's folder.
    """
    if not run.folder.is_dir():
        raise InputError(
            "paths.runs: expected a folder that all nodes see under the same path, not found on this one.",
            subject=run.folder,
        )
    return _train(run, config.model_copy(update={"tracker": TrackerConfig()}), report, processes)


def _train_and_record(run: TrainingRun, config: TrainConfig, report: Report, processes: Processes) -> TrainingRun:
    """Train, and record the outcome in `run.json`."""
    try:
        return _train(run, config, report, processes)
    except (OSError, OutputError) as error:
        _record_end(run, status="failed", reason=str(error))
        reason = error.reason if isinstance(error, OutputError) else error.strerror
        raise OutputError(
            f"cannot be written ({reason}). The last good checkpoint is kept: free some space and continue "
            "the run with `dawnchorus train --resume`.",
            subject=run.folder,
        ) from error
    except DawnChorusError as error:
        _record_end(run, status="failed", reason=str(error))
        raise
    except KeyboardInterrupt:
        _record_end(run, status="interrupted")
        if (run.folder / "checkpoints").is_dir():
            LOG.info(f"interrupted; `dawnchorus train --resume {run.folder}` resumes from the last epoch")
        raise
    except Exception as error:
        _record_end(run, status="failed", reason=f"{type(error).__name__}: {error}")
        raise


def _record_end(run: TrainingRun, **changes: str) -> None:
    """Write fields to `run.json`; a full disk is ignored."""
    with suppress(OutputError):
        run.update(**changes)


def _train(run: TrainingRun, config: TrainConfig, report: Report, processes: Processes) -> TrainingRun:
    from dawnchorus.training.trackers import check_tracker

    with ExitStack() as stack:
        with processes.first_in_turn():  # the others find clips and features
            _check_devices(config.trainer)
            config = config.model_copy(update={"tracker": check_tracker(config.tracker)})
            store = open_store(config)
            family, shape = family_config(config, store)
            start_s = time.monotonic()
            examples = _load_examples(run, config, shape, store)
            recipe = config.recipe()
            config = _with_chosen_loss(config, examples)
            network = _build_network(config, family, shape, examples, store)
            built_s = time.monotonic()
            scratch = run.folder if processes.is_first else Path(stack.enter_context(TemporaryDirectory()))
            inputs = stack.enter_context(open_inputs(network, config, examples, scratch=scratch))
            network.prepare(inputs.sample_features())
            prepared_s = time.monotonic()
            if processes.is_first:
                run = _record_sizes(run, network, examples)
        result = fit(run, network, config, examples, inputs, report=report)
        with processes.first_in_turn():
            if not processes.is_first:
                return read_run(run.folder)
            held_out = validation_scores(
                network,
                examples,
                inputs,
                activation=choose_activation(config),
                window_s=shape.window_s,
                batch=config.trainer.batch_size,
            )
            name = family.base_bundle(shape)
            bundle = write_trained_bundle(
                run.bundle,
                network,
                config,
                shape,
                examples,
                recipe=recipe,
                backbone=store.open(name) if name else None,
                pretrained=family.pretrained(shape),
                metrics=result.metrics,
                held_out=held_out,
                training_summary=f"{result.n_epochs} epochs in {result.elapsed_s:.0f} s on {result.devices}",
            )
            return run.update(
                status="done",
                metrics=result.metrics,
                background=_measure_background(held_out, config),
                devices=result.devices,
                epochs=result.n_epochs,
                fit_s=round(result.elapsed_s, 3),
                features_s=round(prepared_s - built_s, 3),
                prepared_s=round(prepared_s - start_s, 3),
                bundle_id=bundle.id,
                bundle_bytes=bundle.graph_path.stat().st_size,
            )


def _load_examples(run: TrainingRun, config: TrainConfig, shape: FamilyConfig, store: ModelStore) -> LabeledClips:
    """Load the clips of the data set, which must not have changed since the run started.

    Raises:
        InputError: the data set has changed, or cannot be trained on.
    """
    clips_folder = Path(config.paths.clips) if config.paths.clips else None
    examples = load_labeled_clips(
        config.data, rate_hz=shape.rate_hz, window_s=shape.window_s, clips_folder=clips_folder, store=store
    )
    if run.metadata.get("data", examples.fingerprint) != examples.fingerprint:
        raise InputError(
            "its data set has other recordings, labels or splits than when the run began. Put them back, "
            "or start a new run.",
            subject=run.folder,
        )
    for warning in examples.warnings:
        LOG.warning(warning)
    return examples


def _build_network(
    config: TrainConfig,
    family: Family[FamilyConfig],
    shape: FamilyConfig,
    examples: LabeledClips,
    store: ModelStore,
) -> Network:
    """Build the network, with random weights by the run's seed."""
    if examples.n_auxiliary and family.base_bundle(shape):
        raise InputError("data.auxiliary: a head on frozen embeddings learns nothing from other species; leave it out.")
    torch.manual_seed(config.seed)
    class_names = (*examples.classes, *(f"auxiliary {k}" for k in range(examples.n_auxiliary)))
    network = family.build(shape, Context(class_names, store, n_auxiliary=examples.n_auxiliary))
    # Channels innermost: the layout that convolutions of oneDNN and of tensor cores are fastest in.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in torch's stubs
    return network


def _measure_background(held_out: Scores | None, config: TrainConfig) -> dict[str, Any] | None:
    """Measure false alarms in background recordings, log them, and return the figures for `run.json`."""
    name = config.name or str(config.model["family"])
    if held_out is None:
        LOG.info(describe_unmeasured(model=name))
        return None
    background = measure_background(held_out)
    for line in describe_background(background, model=name, activation=choose_activation(config)):
        LOG.info(line)
    return None if background is None else background.as_record()


def _with_chosen_loss(config: TrainConfig, examples: LabeledClips) -> TrainConfig:
    """Return the configuration with the loss that is used; log the reason if it differs from the configured loss."""
    loss = loss_for(config.loss, torch.from_numpy(examples.targets[examples.train]))
    if config.loss.name == "cross_entropy" and loss.name == "bce":
        LOG.info(
            "one class: trained with loss.name=bce, because with cross_entropy the score of an only class is always 1"
        )
    elif config.loss.name == "auto" and loss.name == "bce" and len(examples.classes) > 1:
        LOG.info("loss=bce: some clips have none of the species, or several, so each species is scored by itself")
    elif loss.name == "cross_entropy" and len(examples.backgrounds):
        LOG.warning(
            f"loss=cross_entropy learns nothing from the {len(examples.backgrounds)} clips of background, and "
            f"some species is detected in noise. loss=bce learns from them."
        )
    return config.model_copy(update={"loss": loss})


def _check_devices(options: TrainerConfig) -> None:
    """Raise `InputError` if the configured GPUs do not exist."""
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


def _record_sizes(run: TrainingRun, network: Network, examples: LabeledClips) -> TrainingRun:
    """Record the sizes of network and data in `run.json`, and log them."""
    n_trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    what = "recordings to crop in each epoch" if examples.crops else "clips to learn from"
    LOG.info(
        f"{len(examples.classes)} species, {len(examples.train)} {what}, {len(examples.validation)} to "
        f"validate on; {n_trainable:,} trainable parameters"
    )
    if network.start_note:
        LOG.info(network.start_note)
    return run.update(
        n_classes=len(examples.classes),
        n_train=len(examples.train),
        n_validation=len(examples.validation),
        data=examples.fingerprint,
        n_parameters=sum(p.numel() for p in network.parameters()),
        n_trainable_parameters=n_trainable,
    )
