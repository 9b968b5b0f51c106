"""Hyperparameter search with Optuna, on held-out recordings."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dawnchorus.data.recordings import RecordingRow, read_table
from dawnchorus.errors import InputError, ModelError, OutputError, TrainingError
from dawnchorus.training.compose import compose_config
from dawnchorus.training.config import TrainConfig
from dawnchorus.training.trainer import train
from dawnchorus.types import Progress, Report, ignore_progress
from dawnchorus.version import __version__

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

    Distribution: TypeAlias = CategoricalDistribution | FloatDistribution | IntDistribution

LOG = logging.getLogger(__name__)

Metric = Literal["val_auc", "val_accuracy", "val_loss"]

Method = Literal["tpe", "random", "grid"]
"""The tree-structured Parzen estimator (Bergstra et al., 2011), values at random, or every combination."""

STUDIES_NAME = "studies.db"
"""Database in the folder of runs with every trial of every study, so that a stopped study can be resumed."""

N_TRIALS = 20
"""Default number of trials; of a grid, all."""

N_STARTUP = 5
"""Number of trials drawn at random before the others are compared with them."""


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial."""

    number: int
    overrides: tuple[str, ...]
    state: str
    """"complete", "pruned" (given up after a fold, because others were better) or "fail"."""
    value: float | None


@dataclass(frozen=True)
class StudyResult:
    """Trials of a study, and the best parameters."""

    trials: tuple[TrialResult, ...]
    best: TrialResult


def tune(
    overrides: Sequence[str],
    *,
    n_trials: int | None = None,
    metric: Metric = "val_auc",
    method: Method = "tpe",
    by_fold: bool = False,
    config_dir: Path | None = None,
    clock: Callable[[], datetime],
    report: Report = ignore_progress,
) -> StudyResult:
    """Search overrides with several values in up to `n_trials` trainings, and return the best.

    Overrides are `train`'s; those to be tuned have Hydra's sweep syntax: `optimizer.lr=tag(log,interval(1e-5,1e-2))`,
    `model.mel.n_mels=choice(32,64,128)`, `trainer.epochs=range(10,50,10)`, `augment.mixup_p=interval(0,1)`. Values are
    proposed by `method`. With `by_fold` each trial is trained on
    every fold of a data set that is split into folds, its value is the mean, and it is given up when it is worse than
    the median of others after as many folds. The same call resumes its study, and counts the trials that are there.

    A trial whose values do not go together fails, with its reason in the log, and the next one follows. `report` is
    called after every trial, with its `value` where it has one.

    Raises:
        InputError: nothing to tune, or settings that are wrong from the start.
        TrainingError: no trial finished.
        OutputError: the study cannot be written.
    """
    import optuna
    from optuna.trial import TrialState
    from sqlalchemy.exc import OperationalError

    fixed, space = _space(overrides)
    if not space:
        raise InputError(
            "tune: expected a setting with several values, such as optimizer.lr=tag(log,interval(1e-5,1e-2)) or "
            "model.mel.n_mels=choice(32,64)."
        )
    grid = list(_grid(space)) if method == "grid" else []
    n_wanted = min(n_trials or len(grid), len(grid)) if grid else n_trials or N_TRIALS
    probes = {name: _probe(distribution) for name, distribution in space.items()}
    config = compose_config([*fixed, *_chosen(space, probes)], config_dir=config_dir)
    folds = _folds(config) if by_fold else [None]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    root, rows = Path(config.paths.runs), read_table(Path(config.data.path)).rows
    try:
        root.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=f"sqlite:///{root / STUDIES_NAME}",
            study_name=_digest(config, space, f"{metric} {method}", len(folds), rows),
            direction="minimize" if metric == "val_loss" else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=N_STARTUP),
            load_if_exists=True,
        )
    except (OSError, OperationalError) as error:
        raise OutputError(f"{root / STUDIES_NAME}: cannot be written ({error}). Choose another paths.runs.") from error

    n_done = sum(trial.state.is_finished() for trial in study.trials)
    # A resumed study draws other numbers than those that it has drawn already.
    study.sampler = _sampler(method, config.seed + len(study.trials))
    for values in grid[:n_wanted]:
        study.enqueue_trial(values, skip_if_exists=True)
    for _ in range(n_done, n_wanted):
        trial = study.ask(fixed_distributions=dict(space))
        settings = [*fixed, *_chosen(space, trial.params)]
        try:
            value = _value(trial, settings, folds, metric, clock, config_dir)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except BaseException as error:
            # Values that do not go together, or too much for the memory, are no reason to end; a full disk is.
            if not isinstance(error, TrainingError | InputError | ModelError | MemoryError | RuntimeError):
                raise
            study.tell(trial, state=TrialState.FAIL)
            LOG.error("failed: %s: %s", " ".join(settings), str(error).partition("\n")[0] or type(error).__name__)
        else:
            study.tell(trial, value)
        result = _trial_result(space, study.trials[trial.number])
        LOG.info(describe_trial(result))
        metrics: dict[str, float] = {} if result.value is None else {metric: result.value}
        report(Progress("tuning", trial.number + 1, n_wanted, "trials", metrics))
    trials = tuple(_trial_result(space, trial) for trial in study.trials if trial.state.is_finished())
    if not any(each.state == "complete" for each in trials):
        raise TrainingError(f"tune: none of {len(trials)} trials came to an end. Narrow the range of what is tuned.")
    return StudyResult(trials, _trial_result(space, study.best_trial))


def describe_trial(trial: TrialResult) -> str:
    """Describe a trial in one line."""
    value = "" if trial.value is None else f"{trial.value:.4f}"
    return f"trial {trial.number + 1:3d}  {trial.state}  {value}  {' '.join(trial.overrides)}"


def _sampler(method: Method, seed: int) -> BaseSampler:
    """Build the sampler that proposes values; those of a grid are in the study's queue already."""
    from optuna.samplers import RandomSampler, TPESampler

    return TPESampler(seed=seed, n_startup_trials=N_STARTUP) if method == "tpe" else RandomSampler(seed=seed)


def _space(overrides: Sequence[str]) -> tuple[list[str], dict[str, Distribution]]:
    """Return the overrides with one value, and the ranges of the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep
    from hydra.errors import HydraException
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    fixed: list[str] = []
    space: dict[str, Distribution] = {}
    for override in overrides:
        try:
            parsed = OverridesParser.create().parse_override(override)
        except HydraException:
            fixed.append(override)  # a path, say; what is wrong with it is said where it is composed
            continue
        value = parsed.value()
        if not parsed.is_sweep_override():
            fixed.append(override)
        elif isinstance(value, IntervalSweep):
            low, high, is_log = value.start, value.end, "log" in value.tags
            if low is None or high is None or not (low < high and (low > 0 or not is_log)):
                raise InputError(
                    f"{override}: expected an interval from a smaller to a larger number, above 0 for log."
                )
            if isinstance(low, int) and isinstance(high, int):
                space[parsed.key_or_group] = IntDistribution(low, high, log=is_log)
            else:
                space[parsed.key_or_group] = FloatDistribution(low, high, log=is_log)
        elif isinstance(value, ChoiceSweep) or parsed.is_range_sweep():
            space[parsed.key_or_group] = CategoricalDistribution(tuple(parsed.sweep_string_iterator()))
        else:
            raise InputError(f"{override}: expected choice(...), interval(...), range(...) or values between commas.")
    return fixed, space


def _grid(space: dict[str, Distribution]) -> Iterator[dict[str, Any]]:
    """Yield every combination of values.

    Raises:
        InputError: a setting has no countable values.
    """
    from optuna.distributions import CategoricalDistribution

    choices = []
    for name, distribution in space.items():
        if not isinstance(distribution, CategoricalDistribution):
            raise InputError(f"{name}: expected values to make a grid of, such as choice(1,2,3), got an interval.")
        choices.append(distribution.choices)
    for values in itertools.product(*choices):
        yield dict(zip(space, values, strict=True))


def _value(
    trial: Trial,
    settings: Sequence[str],
    folds: Sequence[int | None],
    metric: Metric,
    clock: Callable[[], datetime],
    config_dir: Path | None,
) -> float:
    """Return the metric's mean over the folds."""
    import optuna

    values: list[float] = []
    for step, fold in enumerate(folds):
        own = [*settings, *([] if fold is None else [f"data.validation_fold={fold}"])]
        run = train(compose_config(own, config_dir=config_dir), started=clock(), overrides=own)
        if metric not in run.metrics:
            raise InputError(f"tune: training gave no {metric}: hold recordings out with data.validation=0.15.")
        values.append(run.metrics[metric])
        trial.report(sum(values) / len(values), step)
        if step + 1 < len(folds) and trial.should_prune():
            raise optuna.TrialPruned
    return sum(values) / len(values)


def _probe(distribution: Distribution) -> Any:
    """Return a valid value, fractional where the range allows it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    if isinstance(distribution, FloatDistribution):
        return distribution.low + 0.382 * (distribution.high - distribution.low)
    return distribution.low


def _chosen(space: dict[str, Distribution], values: dict[str, Any]) -> list[str]:
    return [f"{name}={values[name]}" for name in space]


def _trial_result(space: dict[str, Distribution], trial: FrozenTrial) -> TrialResult:
    return TrialResult(trial.number, tuple(_chosen(space, trial.params)), trial.state.name.lower(), trial.value)


def _folds(config: TrainConfig) -> list[int | None]:
    names = {row.split for row in read_table(Path(config.data.path)).rows if row.split}
    folds = sorted(int(name[4:]) for name in names if name.startswith("fold") and name[4:].isdigit())
    if len(folds) < 2:
        raise InputError(
            f"expected recordings split into folds, found the parts {', '.join(sorted(names))}. "
            f"Split them with `dawnchorus data split --folds 5`.",
            subject=config.data.path,
        )
    return list(folds)


def _digest(
    config: TrainConfig,
    space: dict[str, Distribution],
    metric: str,
    n_folds: int,
    rows: Sequence[RecordingRow],
) -> str:
    """Return a name of the study: values of other recordings, splits or software are not compared."""
    values = {name: repr(distribution) for name, distribution in space.items()}
    data = [[row.recording_id, row.audio_hash, row.scientific_name, row.split] for row in rows]
    identity = [__version__, config.model_dump(mode="json"), values, metric, n_folds, data]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
