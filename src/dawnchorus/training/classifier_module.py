"""The Lightning module of a classifier: training and validation steps, and their metrics."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from dawnchorus.data.presence import NOT_KNOWN, PRESENT
from dawnchorus.errors import TrainingError
from dawnchorus.evaluation.scoring import pool_windows
from dawnchorus.metrics.classification import macro_roc_auc, top_k_accuracy
from dawnchorus.training.augment import Augment
from dawnchorus.training.config import TrainConfig
from dawnchorus.training.dataset import LabeledClips, rank_share
from dawnchorus.training.families import Network
from dawnchorus.training.inputs import Inputs
from dawnchorus.training.losses import Loss
from dawnchorus.training.schedules import BY_EPOCH, build_optimizer, build_scheduler

Batch = tuple[Tensor, Tensor, Tensor]

PER_RANK = 982_451_653
"""Difference between the seeds of two processes: a prime far larger than the number of steps, and below 32 bits, which
is all that torch's CPU generator uses of a seed."""


def diverged(problem: str) -> TrainingError:
    """Return the error of a training with NaN or infinite values; `problem` is the first sentence of its message."""
    return TrainingError(
        f"{problem} Lower optimizer.lr, set trainer.gradient_clip_val=1, or use trainer.precision=32; the best "
        f"checkpoint so far is kept."
    )


class ClassifierModule(lightning.LightningModule):
    """Lightning module: a network with its loss, augmentation and optimizer.

    Args:
        network: the network.
        config: settings of the training.
        loss: function of logits and targets, both [batch, classes], that returns the mean loss; see `build_loss`.
        augment: augmentation of training batches.
        examples: the clips with their targets.
        inputs: form of the batches: waveforms or precomputed features.
        birdless: negative examples [1 + noises, ...] in the form of the inputs: digital silence, then synthetic noise.
            Each training batch gets the silence and some noise with all targets 0, because a network that has never
            seen them may score them high. None for none.
    """

    def __init__(
        self,
        network: Network,
        config: TrainConfig,
        *,
        loss: Loss,
        augment: Augment,
        examples: LabeledClips,
        inputs: Inputs,
        birdless: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._config, self._loss, self._augment, self._inputs = config, loss, augment, inputs
        self._birdless = birdless
        self._recordings = examples.recordings
        self._presence = examples.presence
        self._validation = examples.validation
        self._seen: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Batch, _number: int) -> Tensor:
        values, targets, _ = batch
        # What is random in a step depends on nothing before it, so a continued run equals an undisturbed one.
        own = self.global_step + PER_RANK * self.global_rank
        torch.manual_seed(self._config.seed * 1_000_003 + own)
        rng = torch.Generator().manual_seed(self._config.seed * 7919 + own)
        values, targets = self._inputs.augment(self._augment, values, targets, rng)
        n = len(values)
        if self._birdless is not None:
            values = torch.cat([values, self._draw_birdless(self._birdless, n).to(values)])
        features = self._inputs.features(values)
        if features.ndim == 4 and features.shape[1] == 1:
            features = self._augment.augment_spectrogram(features, rng)
        logits, _ = self.network.classify(features)
        loss = self._loss(logits[:n], targets)
        if self._birdless is not None:
            loss = loss + self._birdless_loss(logits[n:], n)
        self._check_finite(loss, "loss")
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=n, sync_dist=True)
        self._log_accuracy(logits[:n].detach(), targets)
        return loss

    def _check_finite(self, loss: Tensor, name: str) -> None:
        """Check that a loss is finite; `name` is for the message.

        Raises:
            TrainingError: the loss is NaN or infinite.
        """
        if not torch.isfinite(loss):
            raise diverged(f"The {name} became {loss.item()} in epoch {self.current_epoch + 1}.")

    def _draw_birdless(self, birdless: Tensor, n_clips: int) -> Tensor:
        """Return silence, and this process's share of the noise that is drawn for the batch of all processes."""
        n_noises, n_processes = len(birdless) - 1, self.trainer.world_size
        drawn = [0]
        if n_noises:
            n_drawn = max(round(self._config.data.noise_share * n_clips), 1) * n_processes
            rng = torch.Generator().manual_seed(self._config.seed * 6_000_011 + self.global_step)
            drawn += rank_share((1 + torch.randint(n_noises, (n_drawn,), generator=rng)).tolist())
        return birdless[drawn]

    def _birdless_loss(self, logits: Tensor, n_clips: int) -> Tensor:
        """Return the loss of silence and noise, each weighted like one of the `n_clips` clips of the batch."""
        nothing = torch.zeros_like(logits)
        # Silence is one clip of the whole batch, of which each process has its share.
        loss = self._loss(logits[:1], nothing[:1]) / (n_clips * self.trainer.world_size)
        if len(logits) > 1:
            loss = loss + self._loss(logits[1:], nothing[1:]) * (len(logits) - 1) / n_clips
        return loss

    def _log_accuracy(self, logits: Tensor, targets: Tensor) -> None:
        """Log the share of clips whose best-scoring class has the highest target, without clips that have no class."""
        best = targets.amax(1)
        is_named = best > 0
        is_right = (targets.gather(1, logits.argmax(1, keepdim=True))[:, 0] == best) & is_named
        n_named = int(is_named.sum())
        accuracy = is_right.sum() / max(n_named, 1)
        self.log("accuracy", accuracy, on_step=False, on_epoch=True, batch_size=n_named, sync_dist=True)

    def validation_step(self, batch: Batch, _number: int) -> None:
        values, targets, numbers = batch
        logits, _ = self.network.classify(self._inputs.features(values))
        loss = self._loss(logits, targets)
        self._check_finite(loss, "validation loss")
        self.log("val_loss", loss, batch_size=len(values), sync_dist=True)
        self._seen.append((numbers.cpu(), logits.float().cpu()))

    def on_validation_epoch_end(self) -> None:
        numbers, logits = (torch.cat(tensors) for tensors in zip(*self._seen, strict=True))
        self._seen.clear()
        accuracy, auc = self._by_recording(numbers.numpy(), logits)
        self.log("val_accuracy", accuracy, sync_dist=True)
        self.log("val_auc", auc, sync_dist=True)
        is_present = self._presence[numbers.numpy()] == PRESENT
        clip_accuracy = float(top_k_accuracy(is_present, logits[:, : self.network.n_outputs].numpy(), 1))
        self.log("val_clip_accuracy", clip_accuracy, sync_dist=True)

    def _by_recording(self, numbers: np.ndarray, logits: Tensor) -> tuple[float, float]:
        """Return top-1 accuracy and macro ROC AUC over recordings, with scores averaged over each recording's clips."""
        is_softmax = self._config.loss.name == "cross_entropy"
        logits = logits[:, : self.network.n_outputs]
        scores = (torch.softmax(logits, 1) if is_softmax else torch.sigmoid(logits)).numpy()
        presence = self._presence[numbers]
        recordings, recording = np.unique(self._recordings[numbers], return_inverse=True)
        known = np.where(presence == NOT_KNOWN, np.nan, scores.astype(np.float64))
        pooled, truth = pool_windows(known, presence == PRESENT, recording, n_recordings=len(recordings))
        accuracy, auc = float(top_k_accuracy(truth, pooled, 1)), float(macro_roc_auc(truth, pooled))
        return 0.0 if np.isnan(accuracy) else accuracy, 0.5 if np.isnan(auc) else auc

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self._config.optimizer, self.network)
        n_steps = int(self.trainer.estimated_stepping_batches)
        # Without validation recordings, the training loss is all that can stop going down.
        monitor = self._config.trainer.monitor if len(self._validation) else "loss"
        falls = monitor.endswith("loss")
        scheduler = build_scheduler(self._config.scheduler, optimizer, n_steps=n_steps, falls=falls)
        if scheduler is None:
            return optimizer
        interval = "epoch" if self._config.scheduler.name in BY_EPOCH else "step"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": interval, "monitor": monitor},
        }
