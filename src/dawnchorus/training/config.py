"""The frozen schema of a training run's configuration, composed by Hydra from `conf/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dawnchorus.models.cleaning import Cleaning

if TYPE_CHECKING:
    from dawnchorus.data.presence import Secondary


class Config(BaseModel):
    """Frozen configuration that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Config):
    """Recordings to train on, and the clips taken from them."""

    path: str
    """A data set's folder."""
    classes: tuple[str, ...] | None = None
    """Only these species, by scientific name; None: all that are the subject of a recording for training."""
    clip_selection: Literal["all", "first", "random", "loudest"] = "all"
    n_clips: int = Field(default=1, ge=1)
    overlap_s: float = Field(default=0.0, ge=0)
    pad_mode: Literal["zeros", "noise", "repeat"] = "repeat"
    crop: Literal["fixed", "random"] = "fixed"
    """"random": every epoch has one window of each recording for training, at a position drawn anew; validation is on
    fixed windows."""
    trim_db: float | None = Field(default=None, gt=0, le=120)
    denoise: Literal["stationary", "nonstationary"] | None = None
    cut_speech: bool = False
    secondary_target: float | None = Field(default=None, ge=0, le=1)
    """The target of a secondary species; None: it counts neither for nor against."""
    validation: float = Field(default=0.15, ge=0, lt=1)
    """The share of the training recordings to validate on, where the table's split has no such part; 0: none."""
    random_clip_split: bool = False
    """True to validate on clips drawn at random from all training recordings: this leaks, so metrics are too good."""
    auxiliary: str | None = None
    """Another data set, whose other species are trained as auxiliary classes, for more variety; they are no classes of
    the bundle. Its recordings of the kind "background" are background here, too."""
    auxiliary_share: float = Field(default=0.2, gt=0, lt=1)
    """The share of drawn clips that are from it."""
    noise_share: float = Field(default=0.25, ge=0, le=1)
    """Synthetic noise without any class added to each batch of the losses bce and focal, as a share of the batch; 0
    for none."""
    validation_fold: int | None = None
    """Number of the fold for validation, of a table split into folds; the others are for training."""
    seed: int = 1

    @model_validator(mode="before")
    @classmethod
    def _read_old_mask(cls, fields: Any) -> Any:
        """Accept `mask_secondary`, by which runs and recipes said until 2026 that secondary species do not count."""
        if isinstance(fields, dict) and "mask_secondary" in fields:
            fields = dict(fields)
            if fields.pop("mask_secondary"):
                fields["secondary_target"] = None
        return fields

    @property
    def secondary_rule(self) -> Secondary:
        """Treatment of secondary species in validation, the same as in training."""
        return "count" if self.secondary_target else "mask"

    @property
    def cleaning(self) -> Cleaning:
        """Cleaning of recordings before windows are cut; the bundle stores it for inference."""
        return Cleaning(trim_db=self.trim_db, denoise=self.denoise, cut_speech=self.cut_speech)


class OptimizerConfig(Config):
    """Optimizer settings."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    head_lr_multiplier: float = Field(default=1.0, gt=0)
    """Factor of `lr` for layers trained from scratch, if others are pretrained."""
    weight_decay: float = Field(default=1e-2, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)


class SchedulerConfig(Config):
    """Learning-rate schedule."""

    name: Literal["constant", "cosine", "one_cycle", "plateau", "step", "warm_restarts"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """The share of all steps in which the rate rises."""
    patience: int = Field(default=5, ge=0)
    factor: float = Field(default=0.5, gt=0, lt=1)
    step_size: int = Field(default=10, ge=1)
    """Epochs between two steps."""
    gamma: float = Field(default=0.5, gt=0, le=1)
    """The factor of the rate at each step."""
    restart_epochs: int = Field(default=10, ge=1)
    """Epochs of the first cosine, of `warm_restarts`."""
    restart_factor: int = Field(default=1, ge=1)
    """Length of each cosine, as a multiple of the one before."""


class AugmentConfig(Config):
    """Data augmentation; each kind has a probability (`_p`), and 0 turns it off."""

    gain_db: float = Field(default=0.0, ge=0)
    """Maximum gain or attenuation."""
    time_roll: float = Field(default=0.0, ge=0, le=1)
    """Maximum circular shift in time, as a share of the window."""
    pitch_shift: float = Field(default=0.0, ge=0, le=12)
    """Maximum pitch shift in semitones, at the same speed."""
    time_stretch: float = Field(default=0.0, ge=0, lt=1)
    """Maximum change of speed, as a share, at the same pitch."""
    tilt_db: float = Field(default=0.0, ge=0)
    """Maximum gain of high against low frequencies, as of other microphones and distances."""
    noise_p: float = Field(default=0.0, ge=0, le=1)
    noise_snr_db: tuple[float, float] = (10.0, 40.0)
    background_p: float = Field(default=0.0, ge=0, le=1)
    """Probability of mixing a recording of the kind "background" into a clip."""
    background_snr_db: tuple[float, float] = (3.0, 20.0)
    mixup_p: float = Field(default=0.0, ge=0, le=1)
    mixup_alpha: float = Field(default=0.4, gt=0)
    mixup_target: Literal["share", "both"] = "share"
    """Targets after mixup: in the shares of the two clips, or all of both."""
    freq_shift: int = Field(default=0, ge=0)
    """Maximum shift of a spectrogram in bands."""
    time_masks: int = Field(default=0, ge=0)
    time_mask_share: float = Field(default=0.15, gt=0, lt=1)
    freq_masks: int = Field(default=0, ge=0)
    freq_mask_share: float = Field(default=0.15, gt=0, lt=1)
    n_cutouts: int = Field(default=0, ge=0)
    cutout_share: float = Field(default=0.25, gt=0, lt=1)


class LossConfig(Config):
    """Loss function."""

    name: Literal["auto", "cross_entropy", "bce", "focal"] = "auto"
    """"auto": bce where clips for training have no species, or several; else cross_entropy. With cross_entropy, the
    scores of a window sum to 1: some species is detected in everything."""
    class_weights: bool = False
    """True to weight each class by n / (classes * n of the class), so that rare ones count more."""
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    """Share of a target that is spread over all classes; None: 0.05 with cross_entropy, 0 with the others."""
    focal_gamma: float = Field(default=2.0, ge=0)


class TrainerConfig(Config):
    """Length of the training, batches, and hardware."""

    epochs: int = Field(default=30, ge=1)
    min_steps: int = Field(default=1, ge=1)
    """Minimum number of steps: epochs are added until there are as many."""
    batch_size: int = Field(default=32, ge=1)
    sampling: Literal["clips", "recordings"] = "clips"
    """Unit that an epoch has once: each clip, or one clip of each recording, louder ones drawn more often."""
    class_balance: float = Field(default=0.0, ge=0, le=1)
    """Oversampling of rare classes: 0 none, 1 until all classes are drawn equally often."""
    patience: int | None = Field(default=None, ge=1)
    """Epochs without a better validation after which training ends."""
    monitor: Literal["val_loss", "val_auc", "val_accuracy"] = "val_loss"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(default=1, ge=1)
    """Processes on each node, each with a GPU of its own where there are some."""
    nodes: int = Field(default=1, ge=1)
    """Machines; on several, torchrun or SLURM starts the processes."""
    precision: Annotated[
        Literal["auto", "32", "16-mixed", "bf16-mixed"],
        BeforeValidator(lambda value: "32" if value == 32 else value),  # a number, as Hydra and YAML read it
    ] = "auto"
    """"auto" is mixed on a GPU, and 32 elsewhere."""
    gradient_clip_val: float | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, ge=1)

    @property
    def n_processes(self) -> int:
        """Processes on all nodes together."""
        return self.nodes * self.devices


class TrackerConfig(Config):
    """Experiment tracker, in addition to the run's own log."""

    name: Literal["none", "tensorboard", "wandb", "mlflow"] = "none"
    project: str = "dawnchorus"
    uri: str | None = None
    """URI of an MLflow server, or an Azure ML workspace's MLflow tracking URI; None: `mlflow.db` next to the runs."""
    offline: bool = True


class ProfilerConfig(Config):
    """Profiler, which writes to the run's `reports/`."""

    name: Literal["none", "simple", "torch"] = "none"
    wait: int = Field(default=1, ge=0)
    """Steps before the trace; this and the next five are of the profiler "torch"."""
    warmup: int = Field(default=1, ge=0)
    """Steps that are traced and dropped, because the profiler's own start distorts them."""
    active: int = Field(default=3, ge=1)
    """Steps in the trace."""
    record_shapes: bool = False
    profile_memory: bool = False
    with_stack: bool = False


class PathsConfig(Config):
    """Output folders."""

    runs: str = "runs"
    clips: str | None = None
    """Prepared clips; None: in the data set's folder."""
    models: str | None = None
    """Built-in models and pretrained weights; None: the user's cache."""


class TrainConfig(Config):
    """Complete configuration of a run."""

    model: dict[str, Any]
    """The family's own configuration, validated by it; `family` names it."""
    data: DataConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    trainer: TrainerConfig = TrainerConfig()
    tracker: TrackerConfig = TrackerConfig()
    profiler: ProfilerConfig = ProfilerConfig()
    paths: PathsConfig = PathsConfig()
    name: str | None = None
    """Name of the model; None: the family's."""
    license: str | None = None
    """License of the new weights; None for the strictest of its data and backbone."""
    seed: int = Field(default=1, ge=0)

    def recipe(self) -> dict[str, Any]:
        """Return the settings that are independent of the data set and machine."""
        return self.model_dump(
            mode="json",
            include={"model", "data", "optimizer", "scheduler", "augment", "loss", "trainer", "seed"},
            exclude={
                "data": {"path", "classes", "auxiliary", "fold"},
                "trainer": {"accelerator", "devices", "nodes", "threads"},
            },
        )
