"""Hyperparameter search with Optuna, by metrics on validation recordings."""

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
"""Search method: the tree-structured Parzen estimator (Bergstra et al., 2011), random, or a grid of all values."""

STUDIES_NAME = "studies.db"
"""Database of all studies and trials in the folder of runs, from which a stopped study is resumed."""

N_TRIALS = 20
"""Default number of trials, except for a grid, which has all combinations."""

N_STARTUP = 5
"""Number of random trials before the sampler uses results and the pruner compares trials."""


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial (one training, or one per fold).

    Attributes:
        number: number of the trial, from 0.
        overrides: the tuned settings with their values, KEY=VALUE.
        value: value of the metric (with folds, the mean over folds; for a pruned trial over its folds so far); None if
            the trial failed.
    """

    number: int
    overrides: tuple[str, ...]
    state: str
    """"complete", "pruned" (stopped after a fold, because other trials were better) or "fail"."""
    value: float | None


@dataclass(frozen=True)
class StudyResult:
    """Result of `tune`: all trials of a study, and the best one."""

    trials: tuple[TrialResult, ...]
    """Finished, pruned and failed trials by number, including those of earlier calls that were resumed."""
    best: TrialResult
    """Complete trial with the best value of the metric."""


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
    """Search the best values of training settings in several trials.

    Settings to tune have Hydra's sweep syntax: `optimizer.lr=tag(log,interval(1e-5,1e-2))`,
    `model.mel.n_mels=choice(32,64,128)`, `trainer.epochs=range(10,50,10)`, `augment.mixup_p=interval(0,1)`. A call with
    the same arguments resumes the study, and counts its trials. A trial with incompatible values fails, its reason is
    logged, and the search continues.

    Args:
        overrides: settings of `dawnchorus train`, some of them with several values.
        n_trials: total number of trials; None: `N_TRIALS` (20), or all combinations of a grid.
        metric: "val_auc" or "val_accuracy" to maximize, or "val_loss" to minimize.
        method: "tpe" (tree-structured Parzen estimator), "random", or "grid" for all combinations of values.
        by_fold: True to validate on every fold of a data set split into folds, training on the others; the value is the
            mean over the folds, and a trial stops when it is worse than the median of other trials after as many folds;
            the first `N_STARTUP` (5) trials do not stop. False for one training per trial.
        config_dir: folder of the user's configuration choices; None for the built-in ones only.
        clock: function that returns the current local time.
        report: called with the progress after each trial, with the trial's value as the metric `metric`.

    Raises:
        InputError: nothing to tune, invalid settings, an interval with the method "grid", or `by_fold` without folds.
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
    """Return one line on a trial for messages: number (counted from 1), state, value and overrides."""
    value = "" if trial.value is None else f"{trial.value:.4f}"
    return f"trial {trial.number + 1:3d}  {trial.state}  {value}  {' '.join(trial.overrides)}"


def _sampler(method: Method, seed: int) -> BaseSampler:
    """Build Optuna's sampler; the values of a grid are queued in the study instead."""
    from optuna.samplers import RandomSampler, TPESampler

    return TPESampler(seed=seed, n_startup_trials=N_STARTUP) if method == "tpe" else RandomSampler(seed=seed)


def _space(overrides: Sequence[str]) -> tuple[list[str], dict[str, Distribution]]:
    """Return the overrides with one value, and the distributions of the others by key."""
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
    """Yield every combination of values, as a dict by key.

    Raises:
        InputError: a setting is an interval, which has no countable values.
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
    """Train with the settings on each fold, and return the mean of the metric; report each fold to the trial."""
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
    """Return an example value of the distribution, to validate the settings before the first trial."""
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
            f"expected recordings split into folds, found the splits {', '.join(sorted(names))}. "
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
    """Return the name of the study: a digest of all that must be equal for trials to be comparable."""
    values = {name: repr(distribution) for name, distribution in space.items()}
    data = [[row.recording_id, row.audio_hash, row.scientific_name, row.split] for row in rows]
    identity = [__version__, config.model_dump(mode="json"), values, metric, n_folds, data]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
