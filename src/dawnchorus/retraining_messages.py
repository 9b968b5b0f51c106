"""Messages between the server and its retraining process: a request to the process, and events from the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RetrainProcessRequest(_Message):
    """Request to the process of a retraining: data set, models and settings."""

    dataset: Path | None
    """Folder of a data set, or a folder with a subfolder per species; None to check only the settings."""
    model: str
    """Name or folder of the active model, with which the new model is compared."""
    backbone: str | None = None
    """Name or folder of the model whose embeddings the new model uses; None for the active model."""
    new_classes: tuple[str, ...] = ()
    """Labels that may be new classes; all other labels must be classes of the active model or of the backbone."""
    overrides: tuple[str, ...] = ()
    """Training settings in the syntax of `dawnchorus train`, such as "optimizer.lr=3e-4"."""
    only_check: bool = False
    """True to check the settings and the labels of the data set, and not to train."""
    folder: Path | None = None
    """Folder of the retraining's files; None for the folder `retrained` in the data set."""
    overwrite: bool = False
    """True to replace a finished retraining in the folder; False to fail if there is one."""
    negatives_folder: Path | None = None
    """Folder of the generated negative examples (sounds without birds); None for `models_folder`."""
    models_folder: Path
    """Folder of the built-in models."""
    n_workers: int
    """Number of processor cores to use."""


class RetrainOutcome(_Message):
    """Result of a retraining: the new bundle, and its comparison with the active bundle."""

    bundle: str
    """Folder of the new bundle."""
    bundle_id: str
    """Id of the new bundle (`Bundle.id`), a digest of its graph."""
    meets_promotion_rule: bool
    """True if the new model may replace the active one; `training.retraining` has the rule."""
    reasons: tuple[str, ...]
    """Reasons why the new model does not meet the promotion rule; empty if it does."""
    report: dict[str, Any]
    """Comparison with the active model, with the keys that `training.retraining.compare` describes."""
    splits: dict[str, str]
    """Split ("train", "validation" or "test") of each group, by the group's name (`RecordingRow.given_group`)."""


class RetrainEvent(_Message):
    """An event of a retraining, printed by its process as a line of JSON."""

    stage: Literal["checking", "training", "comparing", "done", "failed"]
    """Stage of the retraining; "done" and "failed" are the last events."""
    progress: float | None = None
    """Progress of the whole retraining, 0 to 1; None with the stages "done" and "failed"."""
    message: str | None = None
    """Sentence for the user, such as a warning; None for an event that only reports progress."""
    epoch: int | None = None
    """Number of the finished epoch, from 1; None for an event that reports no epoch."""
    n_epochs: int | None = None
    """Number of epochs in all; None if `epoch` is."""
    left_s: float | None = None
    """Estimated seconds until the end of the training; None if unknown."""
    metrics: dict[str, float] | None = None
    """Metrics of the finished epoch by name, such as "loss"; None for an event that reports no epoch."""
    outcome: RetrainOutcome | None = None
    """Result, with the stage "done" only."""
    error: str | None = None
    """Reason of the failure, with the stage "failed" only."""

    def to_json(self) -> str:
        """Return the event as one line of JSON, without fields that are None."""
        return self.model_dump_json(exclude_defaults=True)
