"""Messages between the server and a retraining process: the request, and events."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RetrainRequest(_Message):
    """Settings of a retraining, sent to its process."""

    dataset: Path | None
    """A data set, or a folder per species; None if only the settings are checked."""
    model: str
    """The active model, to compare with: a name or a folder."""
    backbone: str | None = None
    """The model that the new one is built on; None for the active one."""
    new_classes: tuple[str, ...] = ()
    """Labels that are new classes; others must be classes of the active model or of the backbone."""
    overrides: tuple[str, ...] = ()
    """Settings as for `dawnchorus train`."""
    only_check: bool = False
    """Check the settings, and the labels of the data set; train nothing."""
    folder: Path | None = None
    """Folder of the retraining; None for the folder `retrained` of the data set."""
    overwrite: bool = False
    """Replace a finished retraining in the folder."""
    negatives_folder: Path | None = None
    """Folder of the generated negative examples; None for that of the models."""
    models_folder: Path
    n_workers: int


class RetrainOutcome(_Message):
    """Result of a retraining: the new bundle, and its comparison with the active one."""

    bundle: str
    """Folder of the bundle."""
    bundle_id: str
    meets_promotion_rule: bool
    reasons: tuple[str, ...]
    report: dict[str, Any]
    splits: dict[str, str]
    """Split of each group of recordings that the data set names."""


class RetrainEvent(_Message):
    """An event of a retraining, serialized as a JSON line without None fields."""

    stage: Literal["checking", "training", "comparing", "done", "failed"]
    progress: float | None = None
    """Progress of the retraining, 0 to 1."""
    message: str | None = None
    epoch: int | None = None
    n_epochs: int | None = None
    left_s: float | None = None
    metrics: dict[str, float] | None = None
    outcome: RetrainOutcome | None = None
    """Outcome of the stage "done"."""
    error: str | None = None
    """Reason of the stage "failed"."""

    def to_json(self) -> str:
        """Return the event as a line of JSON."""
        return self.model_dump_json(exclude_defaults=True)
