"""Callbacks for Lightning's trainer: checkpoints, early stopping, progress, profilers."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dawnchorus.errors import OutputError
from dawnchorus.formats.text import text_stream
from dawnchorus.storage.files import atomic_file
from dawnchorus.training.config import TrainConfig
from dawnchorus.training.epochs import BEST, LAST
from dawnchorus.training.runs import METRICS_NAME, TrainingRun
from dawnchorus.training.tracing import StepTracer
from dawnchorus.training.usage import UsageMeter
from dawnchorus.types import Progress, Report

REPORTS = "reports"

STATE_KEY = "Progress"
"""Key of `EpochLogger`'s state in checkpoints: the class's name before 2026-12, so older runs can be resumed."""


class EpochLogger(Callback):
    """Callback that reports progress, writes `metrics.csv`, and stores the best epoch's metrics.

    Args:
        run: the run, in whose folder `metrics.csv` is written.
        config: the settings, with the monitored metric.
        report: called with the progress after each epoch.

    Attributes:
        best: metrics of the best epoch by name (without validation, of the last epoch); empty before the first epoch.
    """

    def __init__(self, run: TrainingRun, config: TrainConfig, report: Report) -> None:
        self._log = run.folder / METRICS_NAME
        self._monitor, self._report = config.trainer.monitor, report
        self._settings = config.model_dump(mode="json")
        self._n_epochs = 0
        self._start_s = time.monotonic()
        self._first_epoch = 0
        self._usage = UsageMeter()
        self.best: dict[str, float] = {}

    @property
    def state_key(self) -> str:
        """Key of this callback's state in checkpoints."""
        return STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        # Only now: a tracker's threads would not live on in processes that are forked after it began.
        for log in trainer.loggers if trainer.is_global_zero else ():
            log.log_hyperparams(self._settings)
        self._n_epochs = trainer.max_epochs
        self._start_s, self._first_epoch = time.monotonic(), trainer.current_epoch
        self._usage = UsageMeter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if is_better(metrics, self.best, self._monitor):
            self.best = metrics
        done = trainer.current_epoch + 1
        left_s = (time.monotonic() - self._start_s) / (done - self._first_epoch) * (self._n_epochs - done)
        if trainer.is_global_zero:
            usage = self._usage.read()
            for log in trainer.loggers:
                log.log_metrics(usage, step=trainer.global_step)
            write_metrics(self._log, done, {**metrics, **usage})
            self._report(Progress("training", done, self._n_epochs, "epochs", metrics, left_s))


def write_metrics(path: Path, epoch: int, metrics: dict[str, float]) -> None:
    """Append the metrics by name of an epoch (from 1) to a CSV file; rows of this and later epochs are dropped before.

    Raises:
        OutputError: no space, or no permission.
    """
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]
    rows.append({"epoch": epoch, **metrics})
    columns = ["epoch", *sorted({name for row in rows for name in row} - {"epoch"})]
    with atomic_file(path) as stream, text_stream(stream) as text:
        out = csv.DictWriter(text, columns, lineterminator="\n")
        out.writeheader()
        out.writerows(rows)


def best_metrics(checkpoint: Path) -> dict[str, float]:
    """Return the metrics of the best epoch so far, stored in a checkpoint; without validation, of the last epoch."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    best: dict[str, float] = state["callbacks"][STATE_KEY]["best"]
    return best


def is_better(new: dict[str, float], old: dict[str, float], monitor: str) -> bool:
    """Return True if `new` metrics are better than `old` ones by the metric `monitor`.

    Lower is better for metrics whose names end in "loss", and higher for others. True also if `new` or `old` lacks the
    metric, or its old value is NaN. False for equal values, or if only the new value is NaN.
    """
    if monitor not in new or monitor not in old or math.isnan(old[monitor]):
        return True
    return new[monitor] < old[monitor] if _mode(monitor) == "min" else new[monitor] > old[monitor]


def _mode(monitor: str) -> str:
    return "min" if monitor.endswith("loss") else "max"


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoint I/O plug-in with atomic writes, so that a full disk does not destroy the last checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        del storage_options
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_file(Path(path)) as stream:
                torch.save(checkpoint, stream)
        except RuntimeError as error:  # torch's writer hides the file's own error
            raise OutputError(f"cannot be written ({error}).", subject=path) from error


def build_callbacks(run: TrainingRun, config: TrainConfig, *, has_validation: bool, report: Report) -> list[Callback]:
    """Return the callbacks of a run.

    Args:
        run: the run, for the folder of checkpoints and logs.
        config: the settings; early stopping is on if `trainer.patience` is set.
        has_validation: False disables early stopping and the checkpoint of the best epoch.
        report: called with the progress after each epoch.
    """
    folder, monitor = str(run.folder / "checkpoints"), config.trainer.monitor
    # The checkpoint comes last, so that it holds what the others know after the epoch.
    callbacks: list[Callback] = [EpochLogger(run, config, report)]
    if has_validation and config.trainer.patience is not None:
        callbacks.append(EarlyStopping(monitor, mode=_mode(monitor), patience=config.trainer.patience))
    if has_validation:
        callbacks.append(
            ModelCheckpoint(
                folder,
                filename=BEST,
                monitor=monitor,
                mode=_mode(monitor),
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            )
        )
    if config.profiler.name == "torch":
        callbacks.append(StepTracer(config.profiler, run.folder / REPORTS))
    callbacks.append(_last_checkpoint(folder))
    return callbacks


def _last_checkpoint(folder: str) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder, filename=LAST, save_top_k=1, enable_version_counter=False, save_on_train_epoch_end=True
    )


def build_profiler(run: TrainingRun, config: TrainConfig) -> Any:
    """Return Lightning's simple profiler, which writes to the run's `reports/`; None if another one or none is set."""
    if config.profiler.name != "simple":
        return None
    from lightning.pytorch.profilers import SimpleProfiler

    return SimpleProfiler(dirpath=run.folder / REPORTS, filename="profile")
