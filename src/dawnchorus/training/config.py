"""Schema of a training run's configuration, which Hydra composes from the YAML files in `conf/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dawnchorus.models.cleaning import Cleaning

if TYPE_CHECKING:
    from dawnchorus.data.presence import Secondary


class Config(BaseModel):
    """Base class of the parts of a configuration: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Config):
    """Recordings to train on, and the cutting of recordings into clips."""

    path: str
    """Folder of the data set, or of clips that `dawnchorus prepare` has written."""
    classes: tuple[str, ...] | None = None
    """Scientific names of the classes; None: main and annotated species of all training recordings."""
    clip_selection: Literal["all", "first", "random", "loudest"] = "all"
    """Windows of a recording that become clips: "all", the "first", "random" ones, or the "loudest"."""
    n_clips: int = Field(default=1, ge=1)
    """Number of "random" or "loudest" windows of each recording."""
    overlap_s: float = Field(default=0.0, ge=0)
    """Length in seconds that neighboring windows share."""
    pad_mode: Literal["zeros", "noise", "repeat"] = "repeat"
    """Padding of clips at a recording's end: zeros, faint noise, or the clip repeated."""
    crop: Literal["fixed", "random"] = "fixed"
    """"fixed": train on the prepared clips; "random": train on one window per recording and epoch, at a new random
    position. Validation always uses the prepared clips."""
    trim_db: float | None = Field(default=None, gt=0, le=120)
    """Trim start and end of recordings that are this many dB below the loudest frame; None: no trimming."""
    denoise: Literal["stationary", "nonstationary"] | None = None
    """Kind of noise that is reduced in recordings: constant ("stationary") or slowly changing; None: no reduction."""
    cut_speech: bool = False
    """True to remove human speech from recordings."""
    secondary_target: float | None = Field(default=None, ge=0, le=1)
    """Target value of secondary species (audible besides the labeled one); None excludes them from the loss."""
    validation: float = Field(default=0.15, ge=0, lt=1)
    """Share of the training recordings to hold out for validation if the table has no validation split; 0: none.

    With `random_clip_split` it is the share of clips, and 0 stands for 0.2."""
    random_clip_split: bool = False
    """True to validate on randomly chosen clips of the training recordings, which leaks: metrics are too optimistic."""
    auxiliary: str | None = None
    """Folder of another data set, whose species that are no classes are trained as auxiliary classes, for more variety.
    The bundle does not get these classes. The other data set's background recordings are used as background."""
    auxiliary_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of clips of auxiliary species among the clips drawn in an epoch."""
    noise_share: float = Field(default=0.25, ge=0, le=1)
    """Number of synthetic noises added to each batch as negative examples, as a share of the batch size (at least one
    for each process); 0 for none. Not used with the loss "cross_entropy"."""
    validation_fold: int | None = None
    """Number (from 0) of the fold to validate on if the table is split into folds; the other folds are trained on.
    None: validate on the split "validation"."""
    seed: int = 1
    """Seed of the random choice of clips and of validation recordings; `TrainConfig.seed` is that of the training."""

    @model_validator(mode="before")
    @classmethod
    def _read_old_mask(cls, fields: Any) -> Any:
        """Accept `mask_secondary` of runs before 2026, which stands for `secondary_target` None."""
        if isinstance(fields, dict) and "mask_secondary" in fields:
            fields = dict(fields)
            if fields.pop("mask_secondary"):
                fields["secondary_target"] = None
        return fields

    @property
    def secondary_rule(self) -> Secondary:
        """Rule for secondary species in validation: "count" them as present if their target is above 0, else "mask"."""
        return "count" if self.secondary_target else "mask"

    @property
    def cleaning(self) -> Cleaning:
        """Cleaning (trimming, noise reduction, removal of speech) before windows are cut; stored in the bundle."""
        return Cleaning(trim_db=self.trim_db, denoise=self.denoise, cut_speech=self.cut_speech)


class OptimizerConfig(Config):
    """Optimizer settings."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    """Optimizer of `torch.optim`: AdamW, Adam or SGD."""
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate, the highest one of a schedule."""
    head_lr_multiplier: float = Field(default=1.0, gt=0)
    """Factor of `lr` for weights that are not pretrained (not in `Network.pretrained`): all, if that is empty."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay of matrices and filters; biases and normalization scales have none."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of "sgd"; not used by the other optimizers."""


class SchedulerConfig(Config):
    """Learning-rate schedule."""

    name: Literal["constant", "cosine", "one_cycle", "plateau", "step", "warm_restarts"] = "cosine"
    """"cosine": one cosine down to 0; "warm_restarts": a cosine that starts again and again; "one_cycle": up and down
    (`OneCycleLR`); "step": reductions at fixed epochs; "plateau": reductions when the monitored metric does not improve
    any more."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps in which the learning rate rises, at the start; for "constant", "cosine" and "one_cycle"."""
    patience: int = Field(default=5, ge=0)
    """Number of epochs without improvement of the monitored metric before a reduction, for the schedule "plateau"."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """Factor of the learning rate at each reduction, for the schedule "plateau"."""
    step_size: int = Field(default=10, ge=1)
    """Number of epochs between two reductions, for the schedule "step"."""
    gamma: float = Field(default=0.5, gt=0, le=1)
    """Factor of the learning rate at each reduction, for the schedule "step"."""
    restart_epochs: int = Field(default=10, ge=1)
    """Number of epochs of the first cosine, for the schedule "warm_restarts"."""
    restart_factor: int = Field(default=1, ge=1)
    """Length of each cosine as a multiple of the previous one, for the schedule "warm_restarts"."""


class AugmentConfig(Config):
    """Data augmentation; a probability (`_p`), strength or number of 0 disables a kind."""

    gain_db: float = Field(default=0.0, ge=0)
    """Maximum gain or attenuation in dB."""
    time_roll: float = Field(default=0.0, ge=0, le=1)
    """Maximum circular shift in time, as a fraction of the window."""
    pitch_shift: float = Field(default=0.0, ge=0, le=12)
    """Maximum pitch shift in semitones, without a change of speed."""
    time_stretch: float = Field(default=0.0, ge=0, lt=1)
    """Maximum relative change x of speed (factors from 1 / (1 + x) to 1 + x), without a change of pitch."""
    tilt_db: float = Field(default=0.0, ge=0)
    """Maximum gain of the highest relative to the lowest frequency in dB, to imitate microphones and distances."""
    noise_p: float = Field(default=0.0, ge=0, le=1)
    """Probability of adding white noise to a clip."""
    noise_snr_db: tuple[float, float] = (10.0, 40.0)
    """Range of the random level of the clip relative to the noise, in dB."""
    background_p: float = Field(default=0.0, ge=0, le=1)
    """Probability of mixing a recording of the kind "background" into a clip."""
    background_snr_db: tuple[float, float] = (3.0, 20.0)
    """Range of the random level of the clip relative to the background, in dB."""
    mixup_p: float = Field(default=0.0, ge=0, le=1)
    """Probability of mixing another clip of the batch into a clip (Zhang et al., 2018)."""
    mixup_alpha: float = Field(default=0.4, gt=0)
    """Both parameters of the beta distribution that the clips' shares are drawn from."""
    mixup_target: Literal["share", "both"] = "share"
    """Targets after mixup: "share" weights both clips' targets by their shares, "both" takes the larger target."""
    freq_shift: int = Field(default=0, ge=0)
    """Maximum shift of a spectrogram in frequency bands."""
    time_masks: int = Field(default=0, ge=0)
    """Number of masked stretches of time in each spectrogram."""
    time_mask_share: float = Field(default=0.15, gt=0, lt=1)
    """Maximum length of a masked stretch, as a share of the columns."""
    freq_masks: int = Field(default=0, ge=0)
    """Number of masked frequency ranges in each spectrogram."""
    freq_mask_share: float = Field(default=0.15, gt=0, lt=1)
    """Maximum width of a masked range, as a share of the bands."""
    n_cutouts: int = Field(default=0, ge=0)
    """Number of masked rectangles in each spectrogram."""
    cutout_share: float = Field(default=0.25, gt=0, lt=1)
    """Maximum size of a rectangle on each axis, as a share of the axis."""


class LossConfig(Config):
    """Loss function."""

    name: Literal["auto", "cross_entropy", "bce", "focal"] = "auto"
    """"auto": "bce" if some training clips have no species or several, or if there is a single class; else
    "cross_entropy". With cross-entropy the scores of a window sum to 1, so some species is detected in any sound."""
    class_weights: bool = False
    """True to weight each class by total / (number of classes * clips of the class), where total is the sum of the
    clips of all classes; with "bce" and "focal" only where the class is present."""
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    """Share of the target that is spread over all classes (with "bce" and "focal": over presence and absence); None:
    0.05 with "cross_entropy", else 0."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """Focusing exponent of "focal" (Lin et al., 2017)."""


class TrainerConfig(Config):
    """Length of the training, batches, sampling and hardware."""

    epochs: int = Field(default=30, ge=1)
    """Number of epochs; `min_steps` may add epochs, and `patience` may stop earlier."""
    min_steps: int = Field(default=1, ge=1)
    """Minimum number of optimizer steps; if `epochs` have fewer, there are more epochs."""
    batch_size: int = Field(default=32, ge=1)
    """Number of clips in a batch of all training processes together."""
    sampling: Literal["clips", "recordings"] = "clips"
    """Content of an epoch: "clips": all clips; "recordings": as many random clips as recordings, preferably loud ones,
    with the same weight for each recording."""
    class_balance: float = Field(default=0.0, ge=0, le=1)
    """Oversampling exponent: 0 keeps class frequencies, 1 draws all classes equally often."""
    patience: int | None = Field(default=None, ge=1)
    """Number of epochs without improvement of `monitor` after which training stops; None disables early stopping."""
    monitor: Literal["val_loss", "val_auc", "val_accuracy"] = "val_loss"
    """Validation metric that decides on the best epoch; AUC and accuracy are over recordings."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Hardware to train on; "auto" takes a GPU if there is one."""
    devices: int = Field(default=1, ge=1)
    """Number of training processes on each node, which share each batch: one per GPU, or several on the CPU."""
    nodes: int = Field(default=1, ge=1)
    """Number of machines; torchrun or SLURM starts the processes of several."""
    precision: Annotated[
        Literal["auto", "32", "16-mixed", "bf16-mixed"],
        BeforeValidator(lambda value: "32" if value == 32 else value),  # a number, as Hydra and YAML read it
    ] = "auto"
    """"auto" is "16-mixed" on a GPU, and "32" on other hardware."""
    gradient_clip_val: float | None = Field(default=None, gt=0)
    """Maximum norm of the gradients; None: no clipping."""
    threads: int | None = Field(default=None, ge=1)
    """Number of PyTorch threads; None: all usable cores, or 1 if only layers on precomputed features are trained."""

    @property
    def n_processes(self) -> int:
        """Number of training processes on all nodes together."""
        return self.nodes * self.devices


class TrackerConfig(Config):
    """Experiment tracker, in addition to the run's own `metrics.csv`."""

    name: Literal["none", "tensorboard", "wandb", "mlflow"] = "none"
    """Tracker: TensorBoard, Weights & Biases, MLflow, or "none"."""
    project: str = "dawnchorus"
    """Name of the project in W&B, or of the experiment in MLflow."""
    uri: str | None = None
    """URI of an MLflow server, or an Azure ML workspace's MLflow tracking URI; None: `mlflow.db` next to the runs."""
    offline: bool = True
    """True if W&B writes its files into the run's folder only, to be uploaded by `wandb sync`; False to upload them
    during training. Not used by other trackers."""


class ProfilerConfig(Config):
    """Profiler, which writes to the run's `reports/`."""

    name: Literal["none", "simple", "torch"] = "none"
    """"simple": Lightning's profiler of the durations of its steps; "torch": a trace by PyTorch's profiler; "none"."""
    wait: int = Field(default=1, ge=0)
    """Number of steps before the trace; this and the following settings are for the profiler "torch"."""
    warmup: int = Field(default=1, ge=0)
    """Number of steps that are traced and discarded, because the profiler's start distorts them."""
    active: int = Field(default=3, ge=1)
    """Number of steps in the trace."""
    record_shapes: bool = False
    """True to record the shapes of the operators' inputs."""
    profile_memory: bool = False
    """True to record memory allocations."""
    with_stack: bool = False
    """True to record the source lines of the operators."""


class PathsConfig(Config):
    """Output folders."""

    runs: str = "runs"
    """Folder of runs, in which each run creates its own folder."""
    clips: str | None = None
    """Folder of prepared clips; None: `clips` in the data set's folder."""
    models: str | None = None
    """Folder of built-in models and pretrained weights; None: `$DAWNCHORUS_MODELS`, or else the user's cache."""


class TrainConfig(Config):
    """Complete configuration of a training run."""

    model: dict[str, Any]
    """Settings of the model by name: `family`, the name of the model family, and the fields of its `Family.config`."""
    data: DataConfig
    """Recordings to train on, and the cutting of recordings into clips."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer and learning rate."""
    scheduler: SchedulerConfig = SchedulerConfig()
    """Learning-rate schedule."""
    augment: AugmentConfig = AugmentConfig()
    """Data augmentation; by default none."""
    loss: LossConfig = LossConfig()
    """Loss function."""
    trainer: TrainerConfig = TrainerConfig()
    """Length of the training, batches, sampling and hardware."""
    tracker: TrackerConfig = TrackerConfig()
    """Experiment tracker; by default none."""
    profiler: ProfilerConfig = ProfilerConfig()
    """Profiler; by default none."""
    paths: PathsConfig = PathsConfig()
    """Folders of runs, clips and models."""
    name: str | None = None
    """Name of the model; None: the name of the family."""
    license: str | None = None
    """License of the new weights; None: the strictest license of the recordings, backbone and pretrained weights."""
    seed: int = Field(default=1, ge=0)
    """Seed of the training: initial weights, order of the clips, augmentation and dropout."""

    def recipe(self) -> dict[str, Any]:
        """Return the settings that do not depend on data set and machine, for training other data in the same way.

        They are JSON-compatible nested dicts by the keys model, data, optimizer, scheduler, augment, loss and trainer
        of this configuration, and `seed`; without path, classes, auxiliary and validation_fold of the data, and without
        accelerator, devices, nodes and threads of the trainer.
        """
        return self.model_dump(
            mode="json",
            include={"model", "data", "optimizer", "scheduler", "augment", "loss", "trainer", "seed"},
            exclude={
                "data": {"path", "classes", "auxiliary", "validation_fold"},
                "trainer": {"accelerator", "devices", "nodes", "threads"},
            },
        )
